// Mutants that declare or close wrongly, or harm bodies.

import net from 'node:net';
import { type Mutants, mutate, publishes, turn } from './broker-mutate.ts';

export const whole: Mutants = {
  'declares less than it must': {
    create: mutate({ broker: () => ({ capabilities: { listPending: true, listDelayed: true } }) }),
    foundBy: 'declares what it must, before and after it was used',
  },
  'declares what it has not': {
    create: mutate({ broker: () => ({ delayedMessages: undefined }) }),
    foundBy: 'has the optional members that it declares, and no others',
  },
  'connects when it is attached': {
    create: mutate({
      broker: () => ({
        attach() {
          const connect = () => net.connect(9, '127.0.0.1').on('error', () => {});
          void turn().then(connect);
        },
      }),
    }),
    foundBy: 'does not connect when it is attached, however often',
  },
  'makes of the default queue a routing key that leads nowhere': {
    create: mutate({ broker: () => ({ defaultRoutingKey: () => 'nowhere' }) }),
    foundBy: 'delivers to the default queue what has the routing key that stands for it',
  },
  'answers for a message that was not there': {
    create: mutate({
      broker: (inner) => ({
        publish: async (messages) => (messages.length > 0 ? inner.publish(messages) : [{ status: 'stored' }]),
      }),
    }),
    foundBy: 'answers an empty batch with no outcomes',
  },
  'stores bodies as Latin-1': {
    create: publishes((messages) =>
      messages.map((it) => ({ ...it, body: Buffer.from(it.body, 'latin1').toString('latin1') })),
    ),
    foundBy: 'keeps several scripts',
  },
  'knows the basic plane only': {
    create: publishes((messages) =>
      messages.map((it) => ({ ...it, body: it.body.replace(/[\u{10000}-\u{10ffff}]/gu, '?') })),
    ),
    foundBy: 'keeps emoji and other astral characters',
  },
  'replaces what XML does not know': {
    create: publishes((messages) =>
      messages.map((it) => ({ ...it, body: it.body.replace(/[\ufffe\uffff]/g, '\ufffd') })),
    ),
    foundBy: 'keeps U+FFFE and U+FFFF, in whatever form of JSON',
  },
  'cuts large bodies': {
    create: publishes((messages) => messages.map((it) => ({ ...it, body: it.body.slice(0, 65_536) }))),
    foundBy: 'keeps a body of 1000000 bytes, several of them in a batch',
  },
  'answers nothing instead of refusing after close': {
    create: mutate({
      consumer: (inner) => ({
        exchange: (settled, want, signal) => inner.exchange(settled, want, signal).catch(() => []),
      }),
    }),
    foundBy: 'refuses to exchange after a consumer was closed',
  },
  'takes messages after close': {
    create: mutate({
      broker: (inner) => ({
        publish: (messages) => inner.publish(messages).then((all) => all.map(() => ({ status: 'stored' as const }))),
      }),
    }),
    foundBy: 'refuses for good to publish after close',
  },
  'cannot be closed twice': {
    create: mutate({
      broker: (inner) => {
        let isClosed = false;
        return {
          async close() {
            if (isClosed) throw new Error('closed already');
            isClosed = true;
            await inner.close();
          },
        };
      },
    }),
    foundBy: 'closes a broker twice, one call after the other and both at once',
  },
  'leaves an exchange hanging that waits while it is closed': {
    create: mutate({
      consumer: (inner) => ({
        exchange: (settled, want, signal) =>
          inner
            .exchange(settled, want, signal)
            .then((got) => (got.length > 0 || signal.aborted ? got : new Promise(() => {}))),
      }),
    }),
    foundBy: 'ends an exchange that waits when its consumer is closed',
  },
};
