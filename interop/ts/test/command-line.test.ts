// What the command line refuses. What it accepts is in the matrix.

import { afterAll, expect, it } from 'vitest';
import { Peers } from './peers.ts';

const peers = new Peers();
afterAll(() => peers.end());

it.each([
  [['client', '--broker', 'nats://127.0.0.1'], 'The URL of `broker` has the scheme nats, expected one of amqp, '],
  [['client', '--backend', '127.0.0.1:6379'], 'The URL of `resultBackend` has no scheme, expected one of amqp, '],
  [['server'], 'Expected worker, client or state, got server'],
  [['client', '--timeout', 'soon'], 'Expected a duration like 20s, got soon'],
  [['worker', '--concurrency', 'many'], 'newWorker: expected `concurrency` to be an integer'],
  [['client', '--brokers', 'redis://'], "Unknown option '--brokers'"],
])('%j is refused', async (args, why) => {
  const peer = peers.start('TypeScript', args);
  expect(await peer.ended).toBe(2);
  expect(peer.stderr).toContain(`peer: ${why}`);
});
