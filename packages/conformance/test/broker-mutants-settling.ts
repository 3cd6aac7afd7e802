// Mutants that settle wrongly, or requeue.

import type { Consumer, Delivery, Settlement } from '@machinery/core';
import { copyOf, type Mutants, mutate, settlements } from './broker-mutate.ts';

export const settling: Mutants = {
  'drops what is requeued to the back': {
    create: settlements((it) =>
      it.kind === 'requeue' && it.position === 'back' ? { kind: 'ack', delivery: it.delivery } : it,
    ),
    foundBy: 'delivers again what is requeued to the end',
  },
  'requeues to the back what belongs to the front': {
    create: settlements((it) =>
      it.kind === 'requeue' ? { kind: 'requeue', delivery: it.delivery, position: 'back' } : it,
    ),
    foundBy: 'puts what is requeued to the front before all that waits, in the old order',
  },
  'requeues to the front what belongs to the back': {
    create: settlements((it) =>
      it.kind === 'requeue' ? { kind: 'requeue', delivery: it.delivery, position: 'front' } : it,
    ),
    foundBy: 'puts what is requeued to the back behind all that waits, in the order of the call',
  },
  'forgets that a task had begun': {
    create: settlements((it) => (it.kind === 'requeue' && it.position === 'front' ? { ...it, begun: false } : it)),
    foundBy: 'delivers as a redelivery what had begun',
  },
  'takes every requeue for a begun task': {
    create: settlements((it) => (it.kind === 'requeue' && it.position === 'front' ? { ...it, begun: true } : it)),
    foundBy: 'does not call it a redelivery when a message is requeued that had not begun',
  },
  'ignores the delay of a requeue': {
    create: settlements((it) =>
      it.kind === 'requeue' && it.position === 'back' ? { kind: it.kind, delivery: it.delivery, position: 'back' } : it,
    ),
    foundBy: 'delivers what is requeued with a delay not before it is over',
  },
  'acknowledges what is dead': {
    create: settlements((it) => (it.kind === 'dead' ? { kind: 'ack', delivery: it.delivery } : it)),
    foundBy: 'keeps dead messages with their reasons, for each queue',
  },
  'swallows that a message is dead, and keeps it': {
    create: settlements((it) => (it.kind === 'dead' ? undefined : it)),
    foundBy: 'never delivers a dead message again',
  },
  'keeps dead messages without the reason': {
    create: settlements((it) => (it.kind === 'dead' ? { ...it, reason: 'a reason' } : it)),
    foundBy: 'keeps dead messages with their reasons, for each queue',
  },
  'drops acknowledgements': {
    create: settlements((it) => (it.kind === 'ack' ? undefined : it)),
    foundBy: 'never delivers again what was acknowledged',
  },
  'acknowledges by body': {
    create: mutate({
      consumer: (inner) => {
        const held: Delivery[] = [];
        const byBody = (settled: readonly Settlement[]) =>
          settled.map((it) => {
            const index = held.findIndex(({ body }) => body === it.delivery.body);
            return index < 0 ? it : { ...it, delivery: held.splice(index, 1)[0] as Delivery };
          });
        return {
          async exchange(settled, want, signal) {
            const taken = await inner.exchange(byBody(settled), want, signal);
            held.push(...taken);
            return taken;
          },
          settle: (settled) => inner.settle(byBody(settled)),
        };
      },
    }),
    foundBy: 'tells identical messages apart: acknowledging one twice leaves the others',
  },
  'requeues twice what is requeued twice': {
    create: mutate({
      consumer: (inner, broker, queue) => {
        const seen = new Set<Delivery>();
        return {
          async settle(settled) {
            await inner.settle(settled);
            for (const { kind, delivery } of settled) {
              if (kind === 'requeue' && seen.has(delivery)) await broker.publish([copyOf(delivery.body, queue)]);
              seen.add(delivery);
            }
          },
        };
      },
    }),
    foundBy: 'puts back one message when it is requeued twice, in a call or in two',
  },
  'delivers again what was settled with an exchange': {
    create: mutate({
      consumer: (inner, broker, queue) => ({
        async exchange(settled, want, signal) {
          const taken = await inner.exchange(settled, want, signal);
          const [first] = settled;
          if (first?.kind === 'ack') await broker.publish([copyOf(first.delivery.body, queue)]);
          return taken;
        },
      }),
    }),
    foundBy: 'settles and takes in one exchange',
  },
  'lets one consumer settle what another has': {
    create: (() => {
      const owners = new WeakMap<Delivery, Consumer>();
      return mutate({
        consumer: (inner) => ({
          async exchange(settled, want, signal) {
            const taken = await inner.exchange(settled, want, signal);
            for (const delivery of taken) owners.set(delivery, inner);
            return taken;
          },
          async settle(settled) {
            for (const it of settled) await (owners.get(it.delivery) ?? inner).settle([it]);
          },
        }),
      });
    })(),
    foundBy: 'ignores settlements of what another consumer has',
  },
  'settles with the next take only': {
    create: mutate({
      consumer: (inner) => {
        let kept: Settlement[] = [];
        return {
          async exchange(settled, want, signal) {
            kept.push(...settled);
            const taken = await inner.exchange([], want, signal);
            if (taken.length > 0) await inner.settle(kept.splice(0));
            return taken;
          },
          async settle(settled) {
            kept = [...kept, ...settled];
          },
        };
      },
    }),
    foundBy: 'settles what an exchange is given although no message comes',
  },
  'does not settle when the signal has aborted before': {
    create: mutate({
      consumer: (inner) => ({
        exchange: (settled, want, signal) => inner.exchange(signal.aborted ? [] : settled, want, signal),
      }),
    }),
    foundBy: 'settles what an exchange is given although its signal has aborted before',
  },
  'settles only when no exchange waits': {
    create: mutate({
      consumer: (inner) => {
        let waiting: Promise<unknown> = Promise.resolve();
        return {
          exchange(settled, want, signal) {
            const taken = inner.exchange(settled, want, signal);
            waiting = taken.catch(() => {});
            return taken;
          },
          settle: (settled) => waiting.then(() => inner.settle(settled)),
        };
      },
    }),
    foundBy: 'settles while an exchange waits, without waiting for it',
  },
};
