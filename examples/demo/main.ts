// `npm run demo`: worker and sender in one process, on the in-memory engine or on the servers of `--broker` and `--backend`.

import { parseArgs } from 'node:util';
import { errorText, Server, silentLogger } from '@machinery/core';
import { configFromEnvironment, createBackend, createBroker } from '@machinery/core/config';
import { sendAll } from './sender.ts';
import { registerHandlers } from './worker.ts';

try {
  const { values } = parseArgs({
    options: { broker: { type: 'string', default: 'memory://' }, backend: { type: 'string', default: 'memory://' } },
  });
  const config = { ...configFromEnvironment(), broker: values.broker, resultBackend: values.backend };
  const server = new Server({
    broker: await createBroker(config),
    backend: await createBackend(config),
    defaultQueue: 'machinery_demo', // of its own: what waits on the server for other workers is left to them
    logger: silentLogger,
  });
  registerHandlers(server, { tickMs: 100 });
  const worker = server.newWorker('demo-worker', { concurrency: 10 });
  // Both at once: a worker waits for a server that is away, a sender is told
  await Promise.all([worker.start(), sendAll(server, console.log)]);
  await server.close();
} catch (error) {
  console.error(errorText(error));
  process.exit(1); // without `close`, which would wait for that server
}
