// The memory broker under any interleaving of calls, compared with a model: nothing is lost, nothing is there twice.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Consumer, Delivery } from '../../src/broker.ts';
import { MemoryBroker } from '../../src/memory/memory-broker.ts';
import { ack, dead, message, options, requeue } from './messages.ts';

type Step =
  | { do: 'publish'; count: number }
  | { do: 'exchange'; who: number; want: number; settle: number }
  | { do: 'settle'; who: number; kind: 'ack' | 'front' | 'back' | 'dead'; count: number; twice: boolean }
  | { do: 'abort' | 'close'; who: number }
  | { do: 'turn' };

const steps = (consumers: number) => {
  const who = fc.nat(consumers - 1);
  const count = fc.integer({ min: 1, max: 4 });
  const kind = fc.constantFrom('ack' as const, 'front' as const, 'back' as const, 'dead' as const);
  return fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('publish' as const), count }) },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant('exchange' as const), who, want: count, settle: fc.nat(3) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ do: fc.constant('settle' as const), who, kind, count, twice: fc.boolean() }),
      },
      { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('abort' as const, 'close' as const), who }) },
      { weight: 3, arbitrary: fc.constant({ do: 'turn' as const }) },
    ) as fc.Arbitrary<Step>,
    { maxLength: 60 },
  );
};

interface Actor {
  consumer: Consumer;
  held: Delivery[];
  waiting: boolean;
  abort: AbortController;
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

async function run(consumers: number, script: readonly Step[]): Promise<{ firstTaken: number[]; published: number }> {
  const broker = new MemoryBroker();
  const start = async (): Promise<Actor> => ({
    consumer: await broker.consume(options()),
    held: [],
    waiting: false,
    abort: new AbortController(),
  });
  const actors = await Promise.all(Array.from({ length: consumers }, start));
  const firstTaken: number[] = [];
  const acked = new Set<string>();
  let published = 0;
  const exchange = async (actor: Actor, want: number, settle: number) => {
    const done = actor.held.splice(0, settle);
    for (const { body } of done) acked.add(body);
    actor.waiting = true;
    const taken = await actor.consumer.exchange(done.map(ack), want, actor.abort.signal);
    actor.waiting = false;
    expect(taken.length).toBeLessThanOrEqual(want);
    actor.held.push(...taken);
    for (const { body, redelivered } of taken) if (!redelivered) firstTaken.push(Number(body));
  };
  try {
    for (const step of script) {
      if (step.do === 'turn') await turn();
      else if (step.do === 'publish') {
        void broker.publish(Array.from({ length: step.count }, () => message(`${published++}`)));
      } else {
        const actor = actors[step.who] as Actor;
        if (step.do === 'exchange') {
          if (!actor.waiting) void exchange(actor, step.want, step.settle);
        } else if (step.do === 'settle') {
          const settlements = actor.held.splice(0, step.count).map((delivery) => {
            if (step.kind === 'ack') acked.add(delivery.body);
            if (step.kind === 'ack') return ack(delivery);
            return step.kind === 'dead' ? dead(delivery, 'broken') : requeue(delivery, step.kind);
          });
          void actor.consumer.settle(settlements);
          if (step.twice) void actor.consumer.settle(settlements);
        } else if (step.do === 'abort') {
          actor.abort.abort();
          await turn();
          actor.abort = new AbortController();
        } else {
          await actor.consumer.close();
          await turn();
          actors[step.who] = await start();
        }
      }
    }
    await turn();
    const held = actors.flatMap((actor) => actor.held.map(({ body }) => body));
    const buried = broker.deadMessages('q').map(({ body }) => body);
    const all = [...acked, ...held, ...buried, ...(await broker.pendingMessages('q', Number.POSITIVE_INFINITY))];
    expect(all.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: published }, (_, i) => i));
    return { firstTaken, published };
  } finally {
    for (const { abort } of actors) abort.abort();
    await broker.close();
  }
}

describe('any interleaving of publish, exchange, settle and close', () => {
  it.each([1, 2, 3])('with %i consumers loses and duplicates nothing', async (consumers) => {
    await fc.assert(
      fc.asyncProperty(steps(consumers), async (script) => {
        await run(consumers, script);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps the order for a single consumer that puts nothing back', async () => {
    const kept = steps(1).map((script) =>
      script.filter((step) => step.do !== 'settle' || step.kind === 'ack' || step.kind === 'dead'),
    );
    await fc.assert(
      fc.asyncProperty(kept, async (script) => {
        const { firstTaken } = await run(1, script);
        expect(firstTaken).toEqual(Array.from({ length: firstTaken.length }, (_, i) => i));
      }),
      { numRuns: 300 },
    );
  });

  it('leaves the queue in the order of publishing when everything comes back to the front', async () => {
    const kept = steps(3).map((script) =>
      script.map((step) => {
        if (step.do === 'settle') return { ...step, kind: 'front' as const };
        return step.do === 'exchange' ? { ...step, settle: 0 } : step;
      }),
    );
    await fc.assert(
      fc.asyncProperty(kept, async (script) => {
        const broker = new MemoryBroker();
        const consumers = [
          await broker.consume(options()),
          await broker.consume(options()),
          await broker.consume(options()),
        ];
        const held: Delivery[][] = [[], [], []];
        let published = 0;
        for (const step of script) {
          if (step.do === 'publish') {
            await broker.publish(Array.from({ length: step.count }, () => message(`${published++}`)));
          } else if (step.do === 'exchange') {
            if ((await broker.pendingMessages('q', 1)).length === 0) continue;
            const taken = await (consumers[step.who] as Consumer).exchange([], step.want, new AbortController().signal);
            held[step.who]?.push(...taken);
          } else if (step.do === 'settle') {
            const back = held[step.who]?.splice(0, step.count) ?? [];
            await (consumers[step.who] as Consumer).settle(back.map((delivery) => requeue(delivery, 'front')));
          } else if (step.do === 'close') {
            await (consumers[step.who] as Consumer).close();
            consumers[step.who] = await broker.consume(options());
            held[step.who] = [];
          }
        }
        await broker.close();
        const waiting = await broker.pendingMessages('q', Number.POSITIVE_INFINITY);
        expect(waiting.map(Number)).toEqual(Array.from({ length: published }, (_, i) => i));
      }),
      { numRuns: 300 },
    );
  });
});
