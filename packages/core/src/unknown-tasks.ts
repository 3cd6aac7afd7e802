// What becomes of a message whose task this worker does not have: back to the end of the queue, so that another worker
// gets it; with a growing delay only when the same message comes back here. One warning for each name.

import { createHash } from 'node:crypto';
import type { Verdict } from './consumer.ts';
import type { Logger } from './logger.ts';
import type { Signature } from './signature.ts';

/** The longest wait before a message is offered again, in milliseconds. */
const maxDelayMs = 5_000;
/** How many messages are remembered; the oldest are forgotten first. */
const remembered = 10_000;

export class UnknownTasks {
  readonly #logger: Logger;
  readonly #queue: string;
  readonly #warned = new Set<string>();
  /** How often a message came here, by the hash of its body. */
  readonly #seen = new Map<string, number>();

  constructor(logger: Logger, queue: string) {
    this.#logger = logger;
    this.#queue = queue;
  }

  verdict({ name, ignoreWhenTaskNotRegistered }: Signature, body: string): Verdict {
    if (ignoreWhenTaskNotRegistered === true) {
      this.#warn(name, 'its messages are dropped, as they ask for');
      return { kind: 'ack' };
    }
    this.#warn(name, 'its messages go back for a worker that has it');
    const message = createHash('sha256').update(body).digest('base64');
    // With more messages going round than can be remembered, none of them would ever be known: they all wait.
    const before = this.#seen.get(message) ?? (this.#seen.size < remembered ? 0 : 4);
    this.#seen.delete(message);
    this.#seen.set(message, before + 1);
    if (this.#seen.size > remembered) this.#seen.delete(this.#seen.keys().next().value as string);
    if (before === 0) return { kind: 'requeue', position: 'back' };
    return { kind: 'requeue', position: 'back', delayMs: Math.min(maxDelayMs, 100 * 2 ** Math.min(before - 1, 10)) };
  }

  #warn(name: string, consequence: string): void {
    if (this.#warned.has(name) || this.#warned.size >= remembered) return;
    this.#warned.add(name);
    this.#logger.warn(`Task ${name} on queue ${this.#queue} is not registered here: ${consequence}`);
  }
}
