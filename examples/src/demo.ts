// `npm run demo`: worker and sender in one process, on the in-memory broker and backend.

import { parseArgs } from 'node:util';
import { type Backend, type Broker, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { sendAll } from './sender.ts';
import { registerHandlers } from './worker.ts';

const { values } = parseArgs({
  options: { broker: { type: 'string', default: 'memory://' }, backend: { type: 'string', default: 'memory://' } },
});

await using server = new Server({
  broker: brokerFor(values.broker),
  backend: backendFor(values.backend),
  logger: silentLogger,
});
registerHandlers(server, { tickMs: 100 });
await server.newWorker('demo-worker', { concurrency: 10 }).start();
await sendAll(server, console.log);

function brokerFor(url: string): Broker {
  if (url.startsWith('memory:')) return new MemoryBroker();
  return exitWith(`No broker for ${url}: this demo knows memory://`);
}

function backendFor(url: string): Backend {
  if (url.startsWith('memory:')) return new MemoryBackend();
  return exitWith(`No backend for ${url}: this demo knows memory://`);
}

function exitWith(message: string): never {
  console.error(message);
  process.exit(2);
}
