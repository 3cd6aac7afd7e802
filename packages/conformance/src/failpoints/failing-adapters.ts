// Wraps a broker and a backend so that the process kills itself at a failpoint. A batch is cut there: what comes before
// the point is done, what comes after it is not.
// Invariant: with a task named, the worker has that one message in hand at the point, and no other but what is kept unacked.

import { type Consumer, type Delivery, decodeSignature, type Settlement, type Signature } from '@machinery/core';
import { overlay } from '../overlay.ts';
import type { Adapters } from './adapters.ts';
import type { Failpoint, FailpointName } from './failpoint.ts';

export interface ArmedAdapters extends Adapters {
  /** Whether a task must wait here for the process to be killed, as it is otherwise too quick for the point. */
  stalls(point: FailpointName): boolean;
}

/**
 * How long the process lives on at the point, whose call is not answered: time enough for an ack that should have
 * waited for the answer, but did not, to do its harm.
 */
const lingerMs = 20;

/**
 * @param before the tasks that are to be taken before that of the failpoint, which queues without an order may hand out first.
 * @param killed is called right before the process is killed.
 */
export function armFailpoint(
  { broker, backend }: Adapters,
  failpoint: Failpoint,
  before: readonly string[],
  killed: () => void,
): ArmedAdapters {
  const hands = new Hands(failpoint, before);
  const { takeGroup } = backend;
  const die = (): Promise<never> => {
    setTimeout(() => {
      killed();
      process.kill(process.pid, 'SIGKILL');
    }, lingerMs);
    return new Promise(() => {});
  };
  return {
    stalls: (point) => failpoint.point === point && hands.aimed,
    broker: overlay(broker, {
      sendingWith: () => undefined, // it would pass these by
      async publish(messages) {
        for (const [i, { signature }] of messages.entries()) {
          const isRetry = hands.hold(signature.uuid);
          if (!isRetry && hands.reaches('before-publish')) {
            if (i > 0) await broker.publish(messages.slice(0, i));
            return die();
          }
          if (hands.reaches(isRetry ? 'after-retry-publish' : 'after-publish')) {
            await broker.publish(messages.slice(0, i + 1));
            return die();
          }
          hands.published.add(signature.uuid);
        }
        return broker.publish(messages);
      },
      async consume(options) {
        return failingConsumer(await broker.consume(options), hands, die);
      },
    }),
    backend: overlay(backend, {
      async write(writes) {
        for (const [i, { state }] of writes.entries()) {
          if (!hands.reaches(hands.hold(state.taskUuid) ? `after-state:${state.state}` : ofFollowUp[state.state]))
            continue;
          await backend.write(writes.slice(0, i + 1));
          return die();
        }
        return backend.write(writes);
      },
      async claimChord(group, member) {
        const claim = await backend.claimChord(group, member);
        return claim === 'claimed' && hands.reaches('after-claim') ? die() : claim;
      },
      async finishChord(group) {
        await backend.finishChord(group);
        if (hands.reaches('after-flag')) await die();
      },
      ...(takeGroup && {
        async takeGroup(group, again) {
          const taken = await takeGroup.call(backend, group, again);
          return taken !== undefined && hands.reaches('after-claim') ? die() : taken;
        },
      }),
    }),
  };
}

/** States that a worker stores for tasks that it does not have in hand. */
const ofFollowUp: Readonly<Record<string, FailpointName | undefined>> = {
  PENDING: 'after-pending',
  FAILURE: 'after-callback-failure',
};

function failingConsumer(consumer: Consumer, hands: Hands, die: () => Promise<never>): Consumer {
  const toSettle = async (settled: readonly Settlement[]): Promise<readonly Settlement[]> => {
    const acks = settled.filter(({ kind, delivery }) => kind === 'ack' && hands.has(delivery));
    if (acks.some(() => hands.reaches('before-ack'))) return die();
    if (acks.some(() => hands.reaches('after-ack'))) {
      await consumer.settle(settled); // an exchange would wait for more
      return die();
    }
    return hands.unacked ? settled.filter(({ delivery }) => !hands.has(delivery)) : settled;
  };
  return overlay(consumer, {
    async exchange(settled, want, signal) {
      const settling = await toSettle(settled);
      const deliveries = await consumer.exchange(settling, hands.alone ? 1 : want, signal);
      hands.drop(settling);
      const handedOut: Delivery[] = [];
      for (const delivery of deliveries) {
        if (hands.isTooEarly(delivery)) {
          await consumer.settle([{ kind: 'requeue', position: 'back', delivery }]);
          continue;
        }
        if (!(await hands.take(delivery))) continue;
        if (hands.reaches('after-take')) return die();
        handedOut.push(delivery);
      }
      return handedOut;
    },
    async settle(settled) {
      const settling = await toSettle(settled);
      await consumer.settle(settling);
      hands.drop(settling);
    },
  });
}

/** What the worker has in hand, and whether that is what the failpoint is about. */
class Hands {
  /** The UUIDs of what this worker published. */
  readonly published = new Set<string | undefined>();
  readonly #failpoint: Failpoint;
  /** What must be taken before the failpoint's task, and has not been. */
  readonly #before: Set<string>;
  readonly #held = new Map<Delivery, Signature>();
  #takes = 0;
  #passes = 0;
  #onEmpty: (() => void) | undefined;
  aimed: boolean;

  constructor(failpoint: Failpoint, before: readonly string[]) {
    this.#failpoint = failpoint;
    this.#before = new Set(before);
    this.aimed = !this.alone;
  }

  /** Whether the point is about one message by itself. */
  get alone(): boolean {
    return this.#failpoint.task !== undefined;
  }

  get unacked(): boolean {
    return this.#failpoint.unacked === true;
  }

  has(delivery: Delivery): boolean {
    return this.#held.has(delivery);
  }

  /** Whether the message of a task is in hand. */
  hold(taskUuid: string | undefined): boolean {
    return [...this.#held.values()].some(({ uuid }) => uuid === taskUuid);
  }

  /** Counts that `point` is passed; true when it is for the last time. */
  reaches(point: string | undefined): boolean {
    const { point: wanted, nth = 1 } = this.#failpoint;
    return this.aimed && point === wanted && ++this.#passes === nth;
  }

  /** Whether it came before its turn. */
  isTooEarly({ body }: Delivery): boolean {
    const { name } = decodeSignature(body);
    this.#before.delete(name);
    return name === this.#failpoint.task && this.#before.size > 0;
  }

  /** Whether the worker gets the delivery; otherwise it stays with its broker's consumer until the process dies. */
  async take(delivery: Delivery): Promise<boolean> {
    const signature = decodeSignature(delivery.body);
    if (this.alone ? this.aimed : this.published.has(signature.uuid)) return false;
    if (signature.name === this.#failpoint.task && ++this.#takes === (this.#failpoint.attempt ?? 1)) {
      if (this.#held.size > 0 && !this.unacked) await new Promise<void>((resolve) => (this.#onEmpty = resolve));
      this.aimed = true;
    }
    this.#held.set(delivery, signature);
    return true;
  }

  drop(settled: readonly Settlement[]): void {
    for (const { delivery } of settled) this.#held.delete(delivery);
    if (this.#held.size === 0) this.#onEmpty?.();
  }
}
