// One consumer of a queue of the memory broker: it hands out, keeps what is in hand, and settles it.
// Invariant: a delivery is in `#held` from being handed out until it is settled or given back, so that whatever is not
// in there (settled twice, another consumer's, from before a close) is ignored.

import type { Consumer, Delivery, Settlement } from '../broker.ts';
import { MachineryError } from '../errors.ts';
import type { MemoryDelivery, MemoryQueue } from './memory-queue.ts';

/** Of setInterval, which keeps the process alive like a socket would. */
const keepAliveMs = 2 ** 31 - 1;

/** States: idle -> waiting (an exchange found nothing) -> idle; both -> closed, for good. */
export class MemoryConsumer implements Consumer {
  readonly #queue: MemoryQueue;
  readonly #delay: (queue: MemoryQueue, message: MemoryDelivery, delayMs: number) => void;
  readonly #onEnd: (consumer: MemoryConsumer) => void;
  readonly #keepAlive = setInterval(() => {}, keepAliveMs);
  /** In the order in which they were taken. */
  readonly #held = new Set<Delivery>();
  #closed = false;
  #want = 0;
  #resolve: ((deliveries: Delivery[]) => void) | undefined;
  #signal: AbortSignal | undefined;

  constructor(
    queue: MemoryQueue,
    delay: (queue: MemoryQueue, message: MemoryDelivery, delayMs: number) => void,
    onEnd: (consumer: MemoryConsumer) => void,
  ) {
    this.#queue = queue;
    this.#delay = delay;
    this.#onEnd = onEnd;
  }

  exchange(settled: readonly Settlement[], want: number, signal: AbortSignal): Promise<Delivery[]> {
    if (this.#resolve !== undefined) {
      const text = 'Expected one exchange at a time, got a second one while the first waits';
      return Promise.reject(new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text));
    }
    this.#settle(settled);
    if (signal.aborted) return Promise.resolve([]);
    if (this.#closed) return Promise.reject(closedError());
    if (this.#queue.ready) return Promise.resolve(this.#take(want));
    this.#listen(signal);
    return new Promise((resolve) => {
      this.#want = want;
      this.#resolve = resolve;
      this.#queue.wait(this);
    });
  }

  settle(settled: readonly Settlement[]): Promise<void> {
    this.#settle(settled);
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.end();
  }

  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#keepAlive);
    this.#signal?.removeEventListener('abort', this.#stopWaiting);
    this.#stopWaiting();
    const returned: MemoryDelivery[] = [];
    for (const delivery of this.#held as Set<MemoryDelivery>) {
      returned.push(delivery.again(true, delivery.deliveryCount + 1));
    }
    this.#held.clear();
    this.#queue.giveBack(returned);
    this.#onEnd(this);
  }

  /** Called by the queue when there is something for the exchange that waits. */
  serve(): void {
    this.#endWait(this.#take(this.#want));
  }

  readonly #stopWaiting = (): void => {
    if (this.#resolve !== undefined) this.#endWait([]);
  };

  #endWait(deliveries: Delivery[]): void {
    this.#queue.stopWaiting(this);
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(deliveries);
  }

  /** One listener for a signal, however many exchanges: adding and removing one costs more than an exchange. */
  #listen(signal: AbortSignal): void {
    if (signal === this.#signal) return;
    this.#signal?.removeEventListener('abort', this.#stopWaiting);
    this.#signal = signal;
    signal.addEventListener('abort', this.#stopWaiting);
  }

  #take(want: number): Delivery[] {
    const { messages } = this.#queue;
    const deliveries: Delivery[] = [];
    for (let n = Math.min(want, messages.length); n > 0; n--) {
      const message = messages.shift() as MemoryDelivery;
      this.#held.add(message);
      deliveries.push(message);
    }
    return deliveries;
  }

  #settle(settled: readonly Settlement[]): void {
    const returned: MemoryDelivery[] = [];
    for (const settlement of settled) {
      // Not held: settled before, or handed out by another consumer, or given back when this one was closed.
      if (!this.#held.delete(settlement.delivery) || settlement.kind === 'ack') continue;
      const delivery = settlement.delivery as MemoryDelivery;
      if (settlement.kind === 'dead') {
        this.#queue.bury(delivery.body, settlement.reason);
        continue;
      }
      const begun = settlement.position === 'front' && settlement.begun === true;
      const delayMs = settlement.position === 'back' ? (settlement.delayMs ?? 0) : 0;
      const message = delivery.again(delivery.redelivered || begun, delivery.deliveryCount);
      if (delayMs > 0) this.#delay(this.#queue, message, delayMs);
      else if (settlement.position === 'back') this.#queue.add(message);
      else returned.push(message);
    }
    if (returned.length > 0) this.#queue.giveBack(returned);
  }
}

export function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The memory broker is closed, or the consumer is');
}
