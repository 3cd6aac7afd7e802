// An HTTP server whose long work is done by a worker, here of the same process: POST answers at once with an id, GET says how the
// task is. SIGTERM ends it without cutting anything off.

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import process from 'node:process';
import { setTimeout as wait } from 'node:timers/promises';
import { defineTask, Server, string } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const report = defineTask('report', { args: [string], returns: string });

const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() });
server.handle(report, async (task, month) => {
  await wait(2_000, undefined, { signal: task.signal }); // what takes so long that nobody should wait for the answer
  console.log(`The report of ${month} is written`);
  return `All is well in ${month}`;
});
const worker = server.newWorker('http-worker', { concurrency: 2 });
await worker.start();

const http = createServer(async ({ method, url = '/' }, response) => {
  if (!http.listening) response.setHeader('Connection', 'close'); // or a client that keeps asking keeps the server
  try {
    const { pathname, searchParams } = new URL(url, 'http://localhost');
    const [, resource, id] = pathname.split('/');
    if (method === 'POST' && pathname === '/reports') await post(response, searchParams.get('month'));
    else if (method === 'GET' && resource === 'reports' && id) await get(response, id);
    else if (method === 'GET' && pathname === '/ready') await ready(response);
    else answer(response, 404, { error: 'There is nothing here' });
  } catch (error) {
    console.error(error); // the broker or the backend is away, say
    answer(response, 503, { error: 'Try again later' });
  }
});
http.listen(Number(process.env.PORT ?? 3000));
await once(http, 'listening');
console.log(`Listening on port ${(http.address() as AddressInfo).port}`);

async function post(response: ServerResponse, month: string | null): Promise<void> {
  if (!month) return answer(response, 400, { error: 'Of which `month`?' });
  const { uuid } = await server.send(report(month));
  response.setHeader('Location', `/reports/${uuid}`);
  answer(response, 202, { id: uuid });
}

async function get(response: ServerResponse, id: string): Promise<void> {
  const result = server.result(id, report);
  const task = await result.state();
  if (task === undefined) return answer(response, 404, { error: 'No such report, or it has expired' });
  const { state, error } = task;
  answer(response, 200, state === 'SUCCESS' ? { state, report: await result.get() } : { state, error });
}

async function ready(response: ServerResponse): Promise<void> {
  const health = await server.health();
  answer(response, health.ok && worker.health().consuming ? 200 : 503, health);
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
}

const [signal] = await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
console.log(`${signal}: finishing what is in hand`);
http.close(); // no new connections; requests that are being answered may still send tasks
await once(http, 'close');
await worker.quit({ timeoutMs: 10_000 }); // takes no more tasks; those that run have ten seconds
await server.close(); // broker and backend, last
console.log('Bye');
