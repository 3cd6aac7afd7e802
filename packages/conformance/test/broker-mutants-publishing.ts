// Mutants that delay, publish or list wrongly.

import { failed } from '@machinery/core';
import { type Mutants, mutate, never, publishes, settlements, tight } from './broker-mutate.ts';

export const publishing: Mutants = {
  'delivers delayed messages 5 ms early': {
    create: publishes((messages) =>
      messages.map((it) => (it.dueAtMs === undefined ? it : { ...it, dueAtMs: it.dueAtMs - 5 })),
    ),
    foundBy: 'delivers nothing before it is due',
  },
  'ends delays of requeues 5 ms early': {
    create: settlements((it) =>
      it.kind === 'requeue' && it.position === 'back' && it.delayMs ? { ...it, delayMs: it.delayMs - 5 } : it,
    ),
    foundBy: 'delivers what is requeued with a delay not before it is over',
  },
  'keeps delayed messages behind those that came before': {
    create: (() => {
      let latest = 0;
      return publishes((messages) =>
        messages.map((it) => {
          if (it.dueAtMs === undefined) return it;
          latest = Math.max(latest, it.dueAtMs);
          return { ...it, dueAtMs: latest };
        }),
      );
    })(),
    foundBy: 'delivers in the order of the times at which messages are due',
  },
  'delays what was due before': {
    create: publishes((messages) =>
      messages.map((it) => (it.dueAtMs === undefined ? it : { ...it, dueAtMs: Math.max(it.dueAtMs, Date.now() + 30) })),
    ),
    foundBy: 'delivers at once what was due before, in its turn',
  },
  'overflows its timer': {
    create: publishes((messages) =>
      messages.map((it) => {
        const { dueAtMs, ...now } = it;
        return dueAtMs !== undefined && dueAtMs - Date.now() >= 2 ** 31 ? now : it;
      }),
    ),
    foundBy: 'does not deliver now what is due in a month',
  },
  'stores after it has answered': {
    create: mutate({
      broker: (inner) => ({
        async publish(messages) {
          const outcomes = messages.map(() => ({ status: 'stored' as const }));
          setTimeout(() => void inner.publish(messages), 2);
          return outcomes;
        },
      }),
    }),
    foundBy: 'lists what waits in a queue, in order',
  },
  'drops the last message of a large batch': {
    create: mutate({
      broker: (inner) => ({
        async publish(messages) {
          const outcomes = await inner.publish(messages.slice(0, 999));
          return messages.map((_, i) => outcomes[i] ?? { status: 'stored' });
        },
      }),
    }),
    foundBy: 'stores a batch of as many messages as it takes, with an outcome for each',
  },
  'sends a batch to the queue of its first message': {
    create: publishes((messages) =>
      messages.map((it) => ({ ...it, routingKey: messages[0]?.routingKey ?? it.routingKey })),
    ),
    foundBy: 'stores the messages of one batch in their own queues, in order for each',
  },
  'fails a whole batch when a message is too large': {
    create: mutate({
      options: tight,
      broker: (inner) => ({
        async publish(messages) {
          if (messages.every(({ body }) => Buffer.byteLength(body) <= tight.maxMessageBytes))
            return inner.publish(messages);
          return messages.map(() => failed(new Error('too large'), false));
        },
      }),
    }),
    foundBy: 'refuses for good what is too large, and stores the others of the batch',
    options: tight,
  },
  'wants what is too large to be tried again': {
    create: mutate({
      options: tight,
      broker: (inner) => ({
        publish: async (messages) =>
          (await inner.publish(messages)).map((it) => (it.status === 'failed' ? failed(it.error, true) : it)),
      }),
    }),
    foundBy: 'refuses for good what is too large, and stores the others of the batch',
    options: tight,
  },
  'mixes up the outcomes of a batch': {
    create: mutate({
      options: tight,
      broker: (inner) => ({
        publish: async (messages) =>
          (await inner.publish(messages)).toSorted((a, b) => a.status.localeCompare(b.status)),
      }),
    }),
    foundBy: 'refuses for good what is too large, and stores the others of the batch',
    options: tight,
  },
  'normalizes bodies': {
    create: publishes((messages) => messages.map((it) => ({ ...it, body: it.body.normalize('NFC') }))),
    foundBy: 'keeps combining marks, which nothing may normalize',
  },
  'writes bodies anew': {
    create: publishes((messages) => messages.map((it) => ({ ...it, body: JSON.stringify(JSON.parse(it.body)) }))),
    foundBy: 'keeps a body that its own encoder would write otherwise',
  },
  'lists more waiting messages than asked for': {
    create: mutate({ broker: (inner) => ({ pendingMessages: (queue) => inner.pendingMessages(queue, 1_000) }) }),
    foundBy: 'lists at most as many messages as asked for, from the front',
  },
  'takes what it lists': {
    create: mutate({
      broker: (inner) => ({
        async pendingMessages(queue, limit) {
          const bodies = await inner.pendingMessages(queue, limit);
          const consumer = await inner.consume({ queue, tag: 'lister', slots: 1, maxInHand: 1 });
          if (bodies.length > 0) await consumer.exchange([], limit, never);
          await consumer.close();
          return bodies;
        },
      }),
    }),
    foundBy: 'takes nothing when it lists what waits',
  },
  'lists delayed messages in another order': {
    create: mutate({
      broker: (inner) => ({ delayedMessages: async (limit) => (await inner.delayedMessages(limit)).toReversed() }),
    }),
    foundBy: 'lists delayed messages of all queues, soonest first',
  },
  'lists more delayed messages than asked for': {
    create: mutate({ broker: (inner) => ({ delayedMessages: () => inner.delayedMessages(1_000) }) }),
    foundBy: 'lists at most as many delayed messages as asked for, the soonest',
  },
};
