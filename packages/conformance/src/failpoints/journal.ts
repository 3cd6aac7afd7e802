// What a worker tells who started it: everything that it ran and that its adapters did, before the next step is taken, so that a SIGKILL
// loses nothing of it.
// Invariant: a message of which `publish` was told is gone when `settle` was told of it, once for each copy.

import { type Consumer, type Delivery, decodeSignature, type Settlement } from '@machinery/core';
import { overlay } from '../overlay.ts';
import type { Adapters } from './adapters.ts';

export interface Entry {
  /** `run`: the handler was called. `settle`: the message is not to come back. */
  readonly event: 'take' | 'run' | 'state' | 'publish' | 'claim' | 'flag' | 'settle' | 'requeue' | 'killed';
  readonly task: string;
  readonly detail?: string;
}

export type Report = (entry: Entry) => void;

/** Reports what the adapters have done, after it is done; settlements before, as they may be done without an answer. */
export function journaled({ broker, backend }: Adapters, report: Report): Adapters {
  const names = new Map<string, string>();
  const { takeGroup } = backend;
  return {
    broker: overlay(broker, {
      sendingWith: () => undefined, // it would pass these by
      async publish(messages) {
        const outcomes = await broker.publish(messages);
        outcomes.forEach(({ status }, i) => {
          const { name = '' } = messages[i]?.signature ?? {};
          if (status !== 'failed') report({ event: 'publish', task: name });
        });
        return outcomes;
      },
      async consume(options) {
        return journaledConsumer(await broker.consume(options), report);
      },
    }),
    backend: overlay(backend, {
      async write(writes) {
        const outcomes = await backend.write(writes);
        outcomes.forEach(({ status }, i) => {
          const { taskName = '', taskUuid = '', state = '' } = writes[i]?.state ?? {};
          names.set(taskUuid, taskName);
          report({ event: 'state', task: taskName, detail: status === 'stored' ? state : `${state} ${status}` });
        });
        return outcomes;
      },
      async claimChord(group, member) {
        const claim = await backend.claimChord(group, member);
        report({ event: 'claim', task: names.get(member) ?? member, detail: claim });
        return claim;
      },
      async finishChord(group) {
        await backend.finishChord(group);
        report({ event: 'flag', task: '' });
      },
      ...(takeGroup && {
        async takeGroup(group, again) {
          const taken = await takeGroup.call(backend, group, again);
          if (taken !== undefined) report({ event: 'claim', task: '', detail: `took ${taken.states.length} states` });
          return taken;
        },
      }),
    }),
  };
}

function journaledConsumer(consumer: Consumer, report: Report): Consumer {
  const settledBefore = new WeakSet<Delivery>();
  const tell = (settled: readonly Settlement[]) => {
    for (const { kind, delivery } of settled) {
      if (settledBefore.has(delivery)) continue; // offered again, after an error
      settledBefore.add(delivery);
      const event = kind === 'requeue' ? 'requeue' : 'settle';
      report({ event, task: decodeSignature(delivery.body).name, detail: kind });
    }
  };
  return overlay(consumer, {
    async exchange(settled, want, signal) {
      tell(settled);
      const deliveries = await consumer.exchange(settled, want, signal);
      for (const { body, redelivered } of deliveries) {
        report({ event: 'take', task: decodeSignature(body).name, ...(redelivered && { detail: 'redelivered' }) });
      }
      return deliveries;
    },
    async settle(settled) {
      tell(settled);
      await consumer.settle(settled);
    },
  });
}
