// The suite of workflows catches adapters that are wrong: each mutant fails the case that is about what it breaks.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, Broker, Consumer, Delivery, Message } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { describe, expect, it } from 'vitest';
import { testWorkflows } from '../src/workflows/index.ts';
import { casesOf, clientOf } from './collected-cases.ts';

interface Mutant {
  readonly backend?: (inner: Backend) => Partial<Backend>;
  readonly broker?: (inner: Broker) => Partial<Broker>;
  /** The case that tells. */
  readonly caughtBy: RegExp;
}

/** The adapter with some of its methods replaced. */
function mutated<T extends object>(inner: T, replaced: Partial<T> = {}): T {
  return new Proxy(inner, {
    get(target, key) {
      if (Object.hasOwn(replaced, key)) return replaced[key as keyof T];
      const member: unknown = Reflect.get(target, key, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

const anyOrder = /results in the group's order, when they finish in a random order/;
const again = /sent again under its UUIDs/;
const claims = new WeakMap<Backend, number>();

/** What is written takes a moment, in which others write too. */
function likeAServer(inner: Backend): Partial<Backend> {
  return {
    write: async (writes) => {
      const outcomes = await inner.write(writes);
      await sleep(5);
      return outcomes;
    },
  };
}

const mutants: Readonly<Record<string, Mutant>> = {
  'a claim that everybody gets': {
    backend: (inner) => ({ ...likeAServer(inner), claimChord: async () => 'claimed' }),
    caughtBy: /50 of them finish at once/,
  },
  'a claim that two members get': {
    backend: (inner) => ({
      ...likeAServer(inner),
      claimChord: async (group, member) => {
        const claim = await inner.claimChord(group, member);
        const granted = (claims.get(inner) ?? 0) + 1;
        claims.set(inner, granted);
        return claim === 'other' && granted === 2 ? 'claimed' : claim;
      },
    }),
    caughtBy: /50 of them finish at once/,
  },
  'a claim that nobody gets': {
    backend: () => ({ claimChord: async () => 'other' }),
    caughtBy: anyOrder,
  },
  'finishChord does nothing': {
    backend: () => ({ finishChord: async () => {} }),
    caughtBy: /marked as decided/,
  },
  'a group whose members are in reverse order': {
    backend: (inner) => ({
      readGroup: async (uuid) => {
        const meta = await inner.readGroup(uuid);
        return meta && { ...meta, taskUuids: meta.taskUuids.toReversed() };
      },
    }),
    caughtBy: anyOrder,
  },
  'a group that loses its last member': {
    backend: (inner) => ({
      readGroup: async (uuid) => {
        const meta = await inner.readGroup(uuid);
        return meta && { ...meta, taskUuids: meta.taskUuids.slice(0, -1) };
      },
    }),
    caughtBy: /finish in their order/,
  },
  'a group that is not replaced when it is sent again': {
    backend: (inner) => ({
      initGroup: async (meta, seconds) => {
        if ((await inner.readGroup(meta.groupUuid)) === undefined) await inner.initGroup(meta, seconds);
      },
    }),
    caughtBy: again,
  },
  'renewGroup does nothing': {
    backend: () => ({ renewGroup: async () => {} }),
    caughtBy: /kept for as long after each member/,
  },
  'PENDING that does not start over': {
    backend: (inner) => ({
      write: async (writes) => {
        const states = await inner.read(writes.map(({ state }) => state.taskUuid));
        const kept = writes.filter(({ state }, i) => state.state !== 'PENDING' || states[i] === undefined);
        await inner.write(kept);
        return writes.map(() => ({ status: 'stored' }));
      },
    }),
    caughtBy: /all waited for when the group is sent again/,
  },
  'states that lose their results': {
    backend: (inner) => ({
      write: (writes) =>
        inner.write(writes.map(({ state, ...more }) => ({ ...more, state: { ...state, results: [] } }))),
    }),
    caughtBy: /of them give what they should, and each task runs exactly once/,
  },
  'a batch of states of which the last is not stored': {
    backend: (inner) => ({
      write: async (writes) => {
        await inner.write(writes.length > 1 ? writes.slice(0, -1) : writes);
        return writes.map(() => ({ status: 'stored' }));
      },
    }),
    caughtBy: /of them give what they should, and each task runs exactly once/,
  },
  'a batch of messages of which the last is not stored': {
    broker: (inner) => ({
      publish: async (messages) => {
        await inner.publish(messages.length > 1 ? messages.slice(0, -1) : messages);
        return messages.map(() => ({ status: 'stored' }));
      },
    }),
    caughtBy: /of them give what they should, and each task runs exactly once/,
  },
  'messages that are stored twice': {
    broker: (inner) => ({
      publish: async (messages) => {
        await inner.publish(messages);
        return inner.publish(messages);
      },
    }),
    caughtBy: /of them give what they should, and each task runs exactly once/,
  },
  'a publish that answers `stored` for what it refused': {
    broker: (inner) => ({
      publish: async (messages: readonly Message[]) => {
        const small = messages.filter(({ body }) => !body.includes('ChordCallback'));
        await inner.publish(small);
        return messages.map(() => ({ status: 'stored' }));
      },
    }),
    caughtBy: anyOrder,
  },
  'a consumer that loses every seventh message': {
    broker: (inner) => ({ consume: async (options) => losing(await inner.consume(options)) }),
    caughtBy: /of them give what they should, and each task runs exactly once/,
  },
  'a consumer that hands out what was given back as if it were new': {
    broker: (inner) => ({ consume: async (options) => forgetful(await inner.consume(options)) }),
    caughtBy: /message of the last one comes again/,
  },
};

/** Every seventh delivery is acked without having been handed out. */
function losing(consumer: Consumer): Consumer {
  let taken = 0;
  return mutated(consumer, {
    exchange: async (settled, want, signal) => {
      const deliveries = await consumer.exchange(settled, want, signal);
      const kept: Delivery[] = [];
      for (const delivery of deliveries) {
        if (++taken % 7 === 0) await consumer.settle([{ kind: 'ack', delivery }]);
        else kept.push(delivery);
      }
      return kept;
    },
  });
}

function forgetful(consumer: Consumer): Consumer {
  return mutated(consumer, {
    exchange: async (settled, want, signal) => {
      const deliveries = await consumer.exchange(settled, want, signal);
      for (const delivery of deliveries) Object.assign(delivery, { redelivered: false });
      return deliveries;
    },
  });
}

function casesFor({ backend, broker, caughtBy }: Mutant) {
  const [innerBroker, innerBackend] = [new MemoryBroker(), new MemoryBackend()];
  const sharedBroker = mutated<Broker>(innerBroker, broker?.(innerBroker));
  const sharedBackend = mutated<Backend>(innerBackend, backend?.(innerBackend));
  const cases = casesOf((runner) =>
    testWorkflows(runner, {
      createBroker: () => clientOf(sharedBroker),
      createBackend: () => clientOf(sharedBackend),
      patienceMs: 3_000,
      runs: 40,
    }),
  );
  return cases.filter(({ name }) => caughtBy.test(name));
}

describe('the suite of workflows', () => {
  for (const [name, mutant] of Object.entries(mutants)) {
    it.concurrent(`catches ${name}`, { timeout: 60_000 }, async () => {
      const [first, ...others] = casesFor(mutant);
      expect(others).toEqual([]);
      await expect(first?.run()).rejects.toThrow();
    });
  }

  it('passes adapters without a defect in all of these cases', { timeout: 60_000 }, async () => {
    for (const mutant of Object.values(mutants))
      for (const { run } of casesFor({ caughtBy: mutant.caughtBy })) await run();
  });
});
