// The user's fake timers: the server does not need the timers of the test.

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { defineTask, string } from '../../src/index.ts';
import { testServer } from '../../src/testing/index.ts';
import { errorLike, thrownBy } from '../server/setup.ts';

const work = defineTask('work', { args: [string], returns: string, retries: 2 });
const realTimeout = globalThis.setTimeout;
/** Jest's fake timers have them all, process.nextTick too, which vitest refuses in a child process. */
const toFake = [
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'setImmediate',
  'clearImmediate',
  'Date',
  'performance',
  'queueMicrotask',
] as const;

beforeEach(() => vi.useFakeTimers({ now: 5_000, toFake: [...toFake] }));
afterEach(() => vi.useRealTimers());

function soon<T>(promise: Promise<T>): Promise<T | 'hangs'> {
  return Promise.race([promise, new Promise<'hangs'>((resolve) => realTimeout(() => resolve('hangs'), 1_000))]);
}

it.each([
  ['the defaults', undefined],
  ['all of them', [...toFake]],
])('run, send, drain, advance, get and close work while %s are fake', async (_, fakes) => {
  vi.useFakeTimers({ now: 5_000, ...(fakes && { toFake: fakes }) });
  const server = testServer();
  expect(server.clock.now()).toBe(5_000);
  server.handle(work, (task, name) => {
    if (task.attempt < 3) throw new Error('no');
    return name;
  });
  await expect(soon(server.run(work('a')))).rejects.toThrow('no');
  const result = await soon(server.send(work('a')));
  if (result === 'hangs') throw new Error('send hangs');
  expect(await soon(server.drain())).toBe(3);
  expect(await soon(result.get())).toBe('a');
  server.registerPeriodicTask('@every 1m', 'x', work('b'));
  expect(await soon(server.advance(60_000))).toBe(1);
  expect(await soon(server.close())).toBeUndefined();
  expect(Date.now()).toBe(5_000);
});

it('a task that never ends is found while timers are fake', async () => {
  vi.useFakeTimers();
  const server = testServer();
  server.handle(work, () => new Promise<string>(() => {}));
  await server.send(work('a'));
  expect(await soon(thrownBy(() => server.drain({ timeoutMs: 30 })))).toEqual(
    errorLike('ERR_MACHINERY_NOT_DRAINED', /^Nothing has ended for 30 ms/),
  );
});
