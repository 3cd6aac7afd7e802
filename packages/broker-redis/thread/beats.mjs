// The thread that keeps this process's workers alive at their servers, also while a task blocks the main thread. It is plain
// JavaScript, so that it runs beside the sources as beside what is built of them. `src/heart.ts` speaks to it.

import { createRequire } from 'node:module';
import { parentPort } from 'node:worker_threads';

/**
 * Not by `import`, whose loader takes another 4 MB in a thread.
 * @type {import('ioredis')}
 */
const { Cluster, Redis } = createRequire(import.meta.url)('ioredis');

/** @typedef {import('../src/heart.ts').ToThread} ToThread */
/** @typedef {import('../src/heart.ts').FromThread} FromThread */
/** @typedef {Extract<ToThread, { kind: 'start' }>} Start */

/**
 * Connections by where they lead.
 * @type {Map<string, { client: import('ioredis').Redis | import('ioredis').Cluster, users: number }>}
 */
const connections = new Map();
/** @type {Map<number, () => void>} */
const stops = new Map();
let mainAliveAt = performance.now();

/** @param {Start['where']} where */
function connect({ nodes, natMap, settings }) {
  const retry = (/** @type {number} */ attempt) => Math.min(50 * attempt, 1_000);
  const client =
    nodes === undefined
      ? new Redis({ ...settings, lazyConnect: false, retryStrategy: retry })
      : new Cluster([...nodes], {
          redisOptions: settings,
          clusterRetryStrategy: retry,
          ...(natMap !== undefined && { natMap }),
        });
  client.on('error', () => {}); // a beat that fails is missing at the server, and the next may not
  return client;
}

/** @param {Start} start */
function start({ id, where, script, keys, args, beatMs, maxBlockedMs }) {
  const key = JSON.stringify(where);
  const connection = connections.get(key) ?? { client: connect(where), users: 0 };
  connection.users += 1;
  connections.set(key, connection);
  let isBeating = false;
  const beat = async () => {
    if (isBeating || performance.now() - mainAliveAt > maxBlockedMs) return;
    isBeating = true; // what waits for a connection would all be sent when there is one
    const askedAt = { monotonic: Number(process.hrtime.bigint()) / 1e6, wall: Date.now() };
    try {
      const isKnown = (await connection.client.eval(script, keys.length, ...keys, ...args)) === 1;
      parentPort?.postMessage(/** @type {FromThread} */ ({ id, askedAt, isKnown }));
    } catch {} // the next one may not fail
    isBeating = false;
  };
  const timer = setInterval(beat, beatMs);
  void beat();
  stops.set(id, () => {
    clearInterval(timer);
    connection.users -= 1;
    if (connection.users > 0) return;
    connections.delete(key);
    connection.client.disconnect();
  });
}

parentPort?.on('message', (/** @type {ToThread} */ message) => {
  mainAliveAt = performance.now();
  if (message.kind === 'start') start(message);
  if (message.kind === 'stop') {
    stops.get(message.id)?.();
    stops.delete(message.id);
  }
});
