// Mutants that take, wait, give back or heed signals wrongly.

import type { Delivery } from '@machinery/core';
import { closingWith, countByBody, deliveries, type Mutants, mutate, publishes, turn } from './broker-mutate.ts';

export const consuming: Mutants = {
  'forgets the order of a batch': {
    create: publishes((messages) => messages.toReversed()),
    foundBy: 'hands out every message once, in the order of publishing',
  },
  'hands out one more than is wanted': {
    create: mutate({
      consumer: (inner) => ({ exchange: (settled, want, signal) => inner.exchange(settled, want + 1, signal) }),
    }),
    foundBy: 'hands out at most as many messages as are wanted',
  },
  'waits until it has as many as are wanted': {
    create: mutate({
      consumer: (inner) => ({
        async exchange(settled, want, signal) {
          const taken = await inner.exchange(settled, want, signal);
          while (taken.length < want && !signal.aborted)
            taken.push(...(await inner.exchange([], want - taken.length, signal)));
          return taken;
        },
      }),
    }),
    foundBy: 'answers with the one message that there is, however many are wanted',
  },
  'does not wait for a message': {
    create: mutate({
      consumer: (inner) => ({
        async exchange(settled, want) {
          const abort = new AbortController();
          const taken = inner.exchange(settled, want, abort.signal);
          await turn();
          abort.abort();
          return taken;
        },
      }),
    }),
    foundBy: 'waits while there is no message, and answers when one comes',
  },
  'fetches more than may be in hand': {
    create: mutate({
      consumer: (inner) => {
        const fetched: Delivery[] = [];
        return {
          async exchange(settled, want, signal) {
            if (fetched.length === 0) fetched.push(...(await inner.exchange(settled, want + 100, signal)));
            else await inner.settle(settled);
            return fetched.splice(0, want);
          },
        };
      },
    }),
    foundBy: 'leaves to others what is beyond the messages that a consumer may have in hand',
  },
  'never says that a delivery is another one': {
    create: deliveries(() => ({ redelivered: false })),
    foundBy: 'gives back at once, in order and as redeliveries, what a closed consumer had not settled',
  },
  'says of every delivery that it is another one': {
    create: deliveries(() => ({ redelivered: true })),
    foundBy: 'says of a first delivery that it is one',
  },
  'does not count': {
    create: deliveries(() => ({ deliveryCount: 1 })),
    foundBy: 'counts each time that a message was not settled',
  },
  'counts requeues': { create: countByBody(), foundBy: 'does not count a requeue as a delivery' },
  'does not own what is in hand': {
    create: mutate({ consumer: () => ({ owns: async () => false }) }),
    foundBy: 'owns what is in hand',
  },
  'owns what it gave back': {
    create: mutate({ consumer: () => ({ owns: () => true }) }),
    foundBy: 'does not own any more what its consumer gave back and another has',
  },
  'loses what it held when it is closed': {
    create: closingWith((delivery) => ({ kind: 'ack', delivery })),
    foundBy: 'gives back at once, in order and as redeliveries, what a closed consumer had not settled',
  },
  'gives back to the end': {
    create: closingWith((delivery) => ({ kind: 'requeue', delivery, position: 'back' })),
    foundBy: 'gives back to the front: what nobody had taken yet stays behind',
  },
  'gives back as if nothing had happened': {
    create: closingWith((delivery) => ({ kind: 'requeue', delivery, position: 'front' })),
    foundBy: 'hands what a closed consumer had to one that waits',
  },
  'gives back only when it pleases': {
    create: mutate({ consumer: () => ({ close: async () => {} }) }),
    foundBy: 'gives back at once, in order and as redeliveries, what a closed consumer had not settled',
  },
  'loses what it took when the signal aborts': {
    create: mutate({
      consumer: (inner) => ({
        async exchange(settled, want, signal) {
          const taken = await inner.exchange(settled, want, signal);
          await turn();
          return signal.aborted ? [] : taken;
        },
      }),
    }),
    foundBy: 'loses nothing when a signal aborts around a publish',
  },
  'rejects when the signal aborts': {
    create: mutate({
      consumer: (inner) => ({
        async exchange(settled, want, signal) {
          const taken = await inner.exchange(settled, want, signal);
          if (taken.length === 0) signal.throwIfAborted();
          return taken;
        },
      }),
    }),
    foundBy: 'resolves a waiting exchange with nothing when its signal aborts',
  },
  'listens to signals of exchanges that are over': {
    create: mutate({
      consumer: (inner) => {
        const signals: AbortSignal[] = [];
        return {
          exchange(settled, want, signal) {
            signals.push(signal);
            return inner.exchange(settled, want, AbortSignal.any(signals.slice(-2)));
          },
        };
      },
    }),
    foundBy: 'does not end an exchange by the signal of an earlier one',
  },
  'leaves listeners behind': {
    create: mutate({
      consumer: (inner) => ({
        exchange(settled, want, signal) {
          signal.addEventListener('abort', () => {});
          return inner.exchange(settled, want, signal);
        },
      }),
    }),
    foundBy: 'leaves no listener behind for each exchange on a signal that lives long',
  },
};
