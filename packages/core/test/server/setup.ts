// What the tests of this folder share: a server whose adapters can be made to fail, and looks at what it published.

import { expect } from 'vitest';
import type { MachineryErrorCode } from '../../src/errors.ts';
import type { TestServer } from '../worker/test-server.ts';

export { type Gate, gate, Journal, nextTurn } from '../worker/journal.ts';
export { RecordingLogger } from '../worker/recording-logger.ts';
export { type TestServer, testServer } from '../worker/test-server.ts';

/** A message as it stands in the queue. */
export interface WireMessage {
  readonly UUID: string;
  readonly Args?: readonly { readonly Type: string; readonly Value?: unknown }[];
  readonly Headers: Record<string, string>;
  readonly [field: string]: unknown;
}

/** The texts of the messages that wait in a queue. */
export function bodies({ broker }: TestServer, queue = 'q'): Promise<string[]> {
  return broker.memory.pendingMessages(queue, 10_000);
}

/** The only message that waits in a queue, parsed. */
export async function onlyMessage(server: TestServer, queue = 'q'): Promise<WireMessage> {
  const waiting = await bodies(server, queue);
  expect(waiting).toHaveLength(1);
  return JSON.parse(waiting[0] as string) as WireMessage;
}

/** Neither published nor stored. */
export function expectNothingSent({ broker, backend }: TestServer): void {
  expect(broker.published.items).toEqual([]);
  expect(broker.calls.publish).toBe(0);
  expect(backend.written.items).toEqual([]);
}

/** Matches an error by its code and its exact text. */
export const errorLike = (code: MachineryErrorCode, message: string | RegExp): unknown =>
  expect.objectContaining({
    code,
    message: typeof message === 'string' ? message : expect.stringMatching(message),
  });

/** What a function throws, or a promise is rejected with. */
export async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error('Expected an error, got none');
}
