// The HTTP server, and what SIGTERM in the middle of a task does to it.

import { expect, it, vi } from 'vitest';
import { documentedOutput } from './documented.ts';
import { Program } from './program.ts';

it('finishes the task that runs, refuses what is new, and ends', { timeout: 30_000 }, async () => {
  const program = new Program(['http-server/main.js'], { PORT: '0' });
  await program.printed(1);
  const port = /^Listening on port (\d+)$/.exec(program.lines[0] ?? '')?.[1] as string;
  const ask = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${port}${path}`, { method });

  expect(await ask('/ready')).toMatchObject({ status: 200 });
  expect(await ask('/reports', 'POST')).toMatchObject({ status: 400 });
  expect(await ask('/reports/task_unknown')).toMatchObject({ status: 404 });
  expect(await ask('/nowhere')).toMatchObject({ status: 404 });
  const posted = await ask('/reports?month=2026-11', 'POST');
  expect(posted.status).toBe(202);
  const { id } = (await posted.json()) as { id: string };
  const location = posted.headers.get('location') as string;
  expect(location).toBe(`/reports/${id}`);
  const state = async () => ((await (await ask(location)).json()) as { state: string }).state;
  await vi.waitUntil(async () => (await state()) === 'STARTED', { interval: 20 });

  const ended = program.stop();
  await program.printed(2);
  await expect(ask('/ready')).rejects.toThrow('fetch failed');
  expect(await ended).toBe(0);
  expect(`${program.lines.join('\n')}\n`.replace(port, '3000')).toMatch(documentedOutput('http-server'));
});

it('gives the result of a task that is done', { timeout: 30_000 }, async () => {
  const program = new Program(['http-server/main.js'], { PORT: '0' });
  await program.printed(1);
  const url = `http://127.0.0.1:${program.lines[0]?.replace('Listening on port ', '')}`;
  const posted = await fetch(`${url}/reports?month=2026-11`, { method: 'POST' });
  const look = async () => (await fetch(url + posted.headers.get('location'))).json();
  const done = { state: 'SUCCESS', report: 'All is well in 2026-11' };
  await expect.poll(look, { timeout: 10_000 }).toEqual(done);
  expect(await program.stop()).toBe(0);
});
