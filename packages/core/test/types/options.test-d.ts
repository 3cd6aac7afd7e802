// The options of server, worker, send and signature.

import {
  type Backend,
  type Broker,
  consoleLogger,
  type Lock,
  type SendOptions,
  Server,
  type ServerOptions,
  type Signature,
  type SignatureOptions,
  silentLogger,
  type Telemetry,
  type Worker,
  type WorkerOptions,
} from '../../src/index.ts';
import { EagerBroker, MemoryBackend, MemoryBroker, NullBackend } from '../../src/memory/index.ts';
import { add, cleanUp, server } from './tasks.ts';

declare const lock: Lock;
const broker: Broker = new MemoryBroker();
const backend: Backend = new MemoryBackend();

new Server({ broker, backend });
new Server({ broker: new EagerBroker(), backend: new NullBackend(), lock, defaultQueue: 'q', logger: console });
new Server({ broker, backend, resultsExpireInSeconds: 60, logger: silentLogger, telemetry: {} });
new Server({
  broker,
  backend,
  logger: consoleLogger,
  prePublishHandler: (signature) => ({ ...signature, priority: 1 }),
});
new Server({ broker, backend, prePublishHandler: (signature: Signature) => void signature.name });
// @ts-expect-error a backend is needed
new Server({ broker });
// @ts-expect-error a broker is needed
new Server({ backend });
// @ts-expect-error the wrong way round
new Server({ broker: backend, backend: broker });
// @ts-expect-error an unknown option
new Server({ broker, backend, queue: 'q' });
// @ts-expect-error a logger has four levels
new Server({ broker, backend, logger: { warn: console.warn } });
// @ts-expect-error URLs are for the configuration
new Server({ broker: 'memory://', backend });
// @ts-expect-error a handler of a signature answers a signature
new Server({ broker, backend, prePublishHandler: () => 'add' });
const serverOptions: ServerOptions = { broker, backend };
// @ts-expect-error options are read only
serverOptions.broker = broker;

const telemetry: Telemetry = {
  injectHeaders: ({ name }) => ({ traceparent: name }),
  runTask: async (signature, run) => {
    const ended = await run();
    return ended.kind === 'success' ? ended.results : [signature.name, ended.error];
  },
  record: (metric, value, { task, queue }) => console.log(`${metric}=${value.toFixed()} ${task} ${queue}`),
};
// @ts-expect-error headers are texts
const numbers: Telemetry = { injectHeaders: () => ({ traceparent: 1 }) };
void [telemetry, numbers];

const worker: Worker = server.newWorker('worker-1');
server.newWorker('worker-1', { concurrency: 10, queue: 'q', maxDeliveries: 3, preConsumeHandler: async () => true });
server.newWorker('worker-1', {
  errorHandler: (error, signature) => console.log(error, signature?.name),
  preTaskHandler: (signature) => console.log(signature.name),
  postTaskHandler: async (signature) => console.log(signature.name),
  preConsumeHandler: (self) => self.consumerTag !== '',
});
// @ts-expect-error a worker has a name
server.newWorker();
// @ts-expect-error concurrency is an option
server.newWorker('worker-1', 10);
// @ts-expect-error a number
server.newWorker('worker-1', { concurrency: '10' });
// @ts-expect-error an unknown option
server.newWorker('worker-1', { prefetchCount: 10 });
// @ts-expect-error a number
server.newWorker('worker-1', { prefetch: '10' });
// @ts-expect-error whether to take is a boolean
server.newWorker('worker-1', { preConsumeHandler: () => {} });
const workerOptions: WorkerOptions = {};
// @ts-expect-error options are read only
workerOptions.concurrency = 1;
void worker.quit({ timeoutMs: 100 });

const all: SignatureOptions<undefined> = {
  eta: new Date(),
  headers: { a: 'b' },
  uuid: 'task_1',
  immutable: true,
  onSuccess: [],
  onError: [],
  brokerMessageGroupId: 'group',
  stopTaskDeletionOnError: true,
  queue: 'q',
  priority: 9,
  retries: 3,
  backoff: { delayMs: 100 },
  timeoutMs: 1_000,
  ignoreWhenTaskNotRegistered: true,
};
cleanUp().with(all);
const forSend: SendOptions<undefined> = { ...all, signal: AbortSignal.timeout(5) };
void server.send(cleanUp(), forSend);
void server.send({ name: 'add' }, { eta: new Date(), retries: 1, onSuccess: [add.partial(), cleanUp()] });
add(1).with({ eta: '2026-11-21T08:00:00.123456789Z' });
add(1).with({ delayMs: 5 });
// @ts-expect-error a Unix time is no ETA
add(1).with({ eta: Date.now() });
// @ts-expect-error header values are texts
add(1).with({ headers: { a: 1 } });
// @ts-expect-error a signal is for sending
add(1).with({ signal: AbortSignal.abort() });
// @ts-expect-error the arguments are what the task was called with
add(1).with({ args: [] });
// @ts-expect-error a backoff of the sender is data: a function cannot travel
add(1).with({ backoff: () => 5 });
// @ts-expect-error an unknown option
void server.send(add(1), { delay: 5 });
// @ts-expect-error not a text
void server.send(add(1), { delayMs: '5' });
// @ts-expect-error a signature's field is not its option: retries
void server.send(add(1), { retryCount: 5 });
// @ts-expect-error exact: leave it out instead
add(1).with({ queue: undefined });
// @ts-expect-error a function cannot travel in the options of send either
void server.send(add(1), { backoff: () => 5 });

// Signatures are data that nobody changes.
const signature = add(1);
// @ts-expect-error read only
signature.routingKey = 'q';
// @ts-expect-error read only
signature.args?.push({ type: 'int64', value: 1 });
