// What a closed connection leaves behind: nothing that keeps a process alive. Alone in its file, as it counts handles.

import process from 'node:process';
import { freePort, startRedis } from '@machinery/services';
import { expect, it } from 'vitest';
import { open, outcome, stopped, until } from './servers.ts';

const server = stopped(await startRedis());

it.skipIf(server === undefined)('a closed connection leaves no handle behind, nor does one to nobody', async () => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => /TCPSocket|ConnectWrap/.test(name)).length;
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = [sockets(), timers()] as const;
  const [there, away] = [open({ url: server?.url as string }), open({ url: `redis://127.0.0.1:${await freePort()}` })];
  await Promise.all([outcome(there.client.ping()), outcome(away.client.ping())]);
  expect(sockets()).toBe(before[0] + 1);
  await Promise.all([there.close(), away.close()]);
  expect([there.client.status, away.client.status]).toEqual(['end', 'end']);
  await until(async () => sockets() <= before[0] && timers() <= before[1], true);
});
