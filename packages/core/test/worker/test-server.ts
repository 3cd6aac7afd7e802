// A server on the faulty broker and backend, with workers that are stopped when the test is over.

import { onTestFinished } from 'vitest';
import type { MemoryBackendOptions } from '../../src/memory/memory-backend.ts';
import type { MemoryBrokerOptions } from '../../src/memory/memory-broker.ts';
import { Server, type ServerOptions } from '../../src/server.ts';
import type { Worker, WorkerOptions } from '../../src/worker.ts';
import { FaultyBackend } from './faulty-backend.ts';
import { FaultyBroker } from './faulty-broker.ts';
import { RecordingLogger } from './recording-logger.ts';

export interface TestServerOptions extends MemoryBackendOptions, MemoryBrokerOptions {
  readonly server?: Partial<ServerOptions>;
}

export interface TestServer {
  readonly server: Server;
  readonly broker: FaultyBroker;
  readonly backend: FaultyBackend;
  readonly logger: RecordingLogger;
  /** A worker that has started. */
  startWorker(options?: WorkerOptions): Promise<Worker>;
  /** A worker that has not. */
  newWorker(options?: WorkerOptions): Worker;
}

export function testServer({ server: serverOptions, maxStateBytes, ...limits }: TestServerOptions = {}): TestServer {
  const broker = new FaultyBroker(limits);
  const backend = new FaultyBackend(maxStateBytes === undefined ? {} : { maxStateBytes });
  const logger = new RecordingLogger();
  const server = new Server({ broker, backend, logger, defaultQueue: 'q', ...serverOptions });
  const workers: Worker[] = [];
  onTestFinished(async () => {
    await Promise.all(workers.map((worker) => worker.quit({ timeoutMs: 0 })));
    await server.close();
  });
  const newWorker = (options: WorkerOptions = {}) => {
    const worker = server.newWorker(`worker-${workers.length + 1}`, options);
    workers.push(worker);
    return worker;
  };
  return {
    server,
    broker,
    backend,
    logger,
    newWorker,
    async startWorker(options) {
      const worker = newWorker(options);
      await worker.start();
      return worker;
    },
  };
}
