// Go's eager mode: `publish` runs the task in this process and resolves when it has ended. Messages go straight to a
// consumer of their queue; there is no queue to wait in, to come back to or to be delayed in.
// Invariant: every message that was accepted is in exactly one consumer, unsettled, until its publish is answered.

import type { Broker, BrokerCapabilities, ConsumeOptions, Consumer, Delivery, Message, Settlement } from '../broker.ts';
import { type ContractVersion, contractVersion } from '../contract-version.ts';
import { MachineryError } from '../errors.ts';
import { inMicrotask } from '../microtask.ts';
import { failed, type Outcome, stored } from '../outcome.ts';

/**
 * A broker that runs tasks while they are sent, for tests and for debugging: start a worker on it in the same process
 * first. An ETA is ignored, as in Go. A task may send others and wait for them: publishes nest.
 *
 * It does not keep the process alive: all there can be to do is in a publish that someone awaits.
 */
export class EagerBroker implements Broker {
  readonly contractVersion: ContractVersion = contractVersion;
  readonly name = '@machinery/core/memory EagerBroker';
  readonly capabilities: BrokerCapabilities = Object.freeze({ eager: true });

  /** In the order in which they are next to get a message. */
  readonly #consumers = new Map<string, Set<EagerConsumer>>();
  #closed = false;

  /**
   * Resolves when the consumer has settled all messages: `stored` once acknowledged, otherwise `failed`, never
   * retryable, with ERR_MACHINERY_BROKER_FAILED (no worker is started, the task is unknown, the message is dead, the
   * worker stops) or ERR_MACHINERY_CLOSED.
   */
  publish(messages: readonly Message[]): Promise<Outcome[]> {
    return Promise.all(messages.map((message) => this.#run(message)));
  }

  /** @throws MachineryError ERR_MACHINERY_CLOSED after `close`. */
  async consume({ queue }: ConsumeOptions): Promise<Consumer> {
    if (this.#closed) throw closedError();
    let consumers = this.#consumers.get(queue);
    if (consumers === undefined) {
      consumers = new Set();
      this.#consumers.set(queue, consumers);
    }
    const consumer = new EagerConsumer((it) => consumers.delete(it));
    consumers.add(consumer);
    return consumer;
  }

  /** Closes the consumers. A publish under way fails. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const consumers of this.#consumers.values()) {
      for (const consumer of consumers) consumer.end();
    }
  }

  #run({ body, routingKey, signature }: Message): Outcome | Promise<Outcome> {
    if (this.#closed) return failed(closedError(), false);
    const task = `task ${signature.name} (${signature.uuid ?? 'no UUID'})`;
    const consumers = this.#consumers.get(routingKey);
    const [consumer] = consumers ?? [];
    if (consumers === undefined || consumer === undefined) {
      return brokerFailed(
        `Cannot run ${task}: no worker is started in this process for queue ${routingKey}, ` +
          'and an eager broker runs tasks while they are sent',
      );
    }
    consumers.delete(consumer);
    consumers.add(consumer);
    return new Promise((resolve) => consumer.add(new EagerDelivery(body, task, resolve)));
  }
}

class EagerDelivery implements Delivery {
  readonly body: string;
  readonly redelivered = false;
  readonly task: string;
  readonly answer: (outcome: Outcome) => void;

  constructor(body: string, task: string, answer: (outcome: Outcome) => void) {
    this.body = body;
    this.task = task;
    this.answer = answer;
  }
}

/** States: idle -> waiting (an exchange found nothing) -> idle; both -> closed, for good. */
class EagerConsumer implements Consumer {
  readonly #onEnd: (consumer: EagerConsumer) => void;
  /** Not handed out yet. */
  #inbox: EagerDelivery[] = [];
  readonly #held = new Set<Delivery>();
  #closed = false;
  #resolve: ((deliveries: Delivery[]) => void) | undefined;

  constructor(onEnd: (consumer: EagerConsumer) => void) {
    this.#onEnd = onEnd;
  }

  add(delivery: EagerDelivery): void {
    this.#inbox.push(delivery);
    // Not at once: a batch is handed out together.
    if (this.#inbox.length === 1) inMicrotask(this.#serve);
  }

  /** Hands out all there is, whatever `want` says: a task that waits for one that it sent must not use up its slot. */
  exchange(settled: readonly Settlement[], _want: number, signal: AbortSignal): Promise<Delivery[]> {
    if (this.#resolve !== undefined) {
      const text = 'Expected one exchange at a time, got a second one while the first waits';
      return Promise.reject(new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text));
    }
    this.#settle(settled);
    if (signal.aborted) return Promise.resolve([]);
    if (this.#closed) return Promise.reject(closedError());
    if (this.#inbox.length > 0) return Promise.resolve(this.#take());
    return new Promise((resolve) => {
      signal.addEventListener('abort', this.#stopWaiting);
      this.#resolve = (deliveries) => {
        signal.removeEventListener('abort', this.#stopWaiting);
        this.#resolve = undefined;
        resolve(deliveries);
      };
    });
  }

  async settle(settled: readonly Settlement[]): Promise<void> {
    this.#settle(settled);
  }

  async close(): Promise<void> {
    this.end();
  }

  end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWaiting();
    for (const { task, answer } of [...(this.#held as Set<EagerDelivery>), ...this.#inbox]) {
      answer(
        brokerFailed(`The worker was closed before ${task} had ended, and an eager broker has no queue to put it back`),
      );
    }
    this.#held.clear();
    this.#inbox = [];
    this.#onEnd(this);
  }

  readonly #serve = (): void => {
    if (this.#resolve !== undefined && this.#inbox.length > 0) this.#resolve(this.#take());
  };

  readonly #stopWaiting = (): void => {
    this.#resolve?.([]);
  };

  #take(): Delivery[] {
    const deliveries = this.#inbox;
    this.#inbox = [];
    for (const delivery of deliveries) this.#held.add(delivery);
    return deliveries;
  }

  #settle(settled: readonly Settlement[]): void {
    for (const settlement of settled) {
      if (!this.#held.delete(settlement.delivery)) continue;
      const { task, answer } = settlement.delivery as EagerDelivery;
      if (settlement.kind === 'ack') answer(stored);
      else if (settlement.kind === 'dead') answer(brokerFailed(`The message of ${task} is dead: ${settlement.reason}`));
      else {
        answer(
          brokerFailed(
            `The worker gave ${task} back without running it (it does not know the task, or it stops), ` +
              'and an eager broker has no queue to put it back',
          ),
        );
      }
    }
  }
}

function brokerFailed(text: string): Outcome {
  return failed(new MachineryError('ERR_MACHINERY_BROKER_FAILED', text), false);
}

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The eager broker is closed, or the consumer is');
}
