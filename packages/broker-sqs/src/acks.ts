// Deletes what is done, ten a request. What is done is hidden anyway, so that it may wait a moment for others: a request costs money.

import { maxEntries } from './publisher.ts';
import type { Receipts, Settled } from './receipts.ts';
import type { SqsDelivery } from './sqs-delivery.ts';

/** How long what is done waits for others, in milliseconds. */
const lingerMs = 100;

export class Acks {
  readonly #receipts: Receipts<SqsDelivery>;
  readonly #lingerMs: number;
  #waiting: SqsDelivery[] = [];
  #batch: Batch | undefined;

  /** @param inOrder other messages wait for these to be deleted (FIFO queues). */
  constructor(receipts: Receipts<SqsDelivery>, inOrder: boolean) {
    this.#receipts = receipts;
    this.#lingerMs = inOrder ? 0 : lingerMs;
  }

  /** Resolves when they are deleted, with what became of them and of those that were deleted with them. Never rejects. */
  add(deliveries: readonly SqsDelivery[]): Promise<Settled<SqsDelivery>> {
    this.#waiting.push(...deliveries);
    this.#batch ??= this.#newBatch();
    const { settled } = this.#batch;
    if (this.#waiting.length >= maxEntries) this.flush();
    return settled;
  }

  /** Waits no longer. */
  flush(): void {
    this.#batch?.send();
  }

  #newBatch(): Batch {
    let start: (taken: readonly SqsDelivery[]) => void = () => {};
    const started = new Promise<readonly SqsDelivery[]>((resolve) => {
      start = resolve;
    });
    const settled = started.then((taken) => this.#receipts.delete(taken));
    const timer = setTimeout(() => this.flush(), this.#lingerMs);
    const send = () => {
      clearTimeout(timer);
      this.#batch = undefined;
      start(this.#waiting);
      this.#waiting = [];
    };
    return { settled, send };
  }
}

/** Those that are deleted together. */
interface Batch {
  readonly settled: Promise<Settled<SqsDelivery>>;
  send(): void;
}
