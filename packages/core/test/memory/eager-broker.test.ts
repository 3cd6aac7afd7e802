// The eager broker: a publish is the run of its tasks.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Consumer, Delivery, Settlement } from '../../src/broker.ts';
import { EagerBroker } from '../../src/memory/eager-broker.ts';
import { ack, bodies, dead, livingTimers, message, never, options, requeue, summary } from './messages.ts';

let broker: EagerBroker;
beforeEach(() => {
  broker = new EagerBroker();
});
afterEach(() => broker.close());

/** A worker in short: hands each delivery to `work` without waiting for it, and settles when that is over. */
async function work(run: (delivery: Delivery) => Settlement | Promise<Settlement>, queue = 'q'): Promise<Consumer> {
  const consumer = await broker.consume(options(queue));
  const loop = async (): Promise<void> => {
    for (;;) {
      for (const delivery of await consumer.exchange([], 1, never)) {
        void Promise.resolve(run(delivery)).then((settlement) => consumer.settle([settlement]));
      }
    }
  };
  // Ends when the consumer is closed, which exchange reports.
  loop().catch(() => {});
  return consumer;
}

const publish = async (...names: string[]) => (await broker.publish(names.map((name) => message(name)))).map(summary);
const failure = async (name: string): Promise<string> => {
  const [outcome] = await broker.publish([message(name)]);
  if (outcome?.status !== 'failed') throw new Error(`Expected a failure, got ${outcome?.status}`);
  expect(outcome.retryable).toBe(false);
  return outcome.error.message;
};

describe('publish', () => {
  it('declares itself eager, and nothing else', () => {
    expect(broker.capabilities).toEqual({ eager: true });
  });

  it('resolves after the task has run', async () => {
    const ran: string[] = [];
    await work(async (delivery) => {
      await new Promise((resolve) => setImmediate(resolve));
      ran.push(delivery.body);
      return ack(delivery);
    });
    expect(await publish('1', '2')).toEqual(['stored', 'stored']);
    expect(ran).toEqual(['1', '2']);
  });

  it('does not resolve before the task is settled', async () => {
    const consumer = await broker.consume(options());
    let resolved = false;
    const published = publish('1').finally(() => {
      resolved = true;
    });
    const [delivery] = (await consumer.exchange([], 1, never)) as [Delivery];
    await new Promise((resolve) => setImmediate(resolve));
    expect(resolved).toBe(false);
    await consumer.exchange([ack(delivery)], 1, AbortSignal.abort());
    expect(await published).toEqual(['stored']);
  });

  it('ignores the ETA', async () => {
    await work(ack);
    const outcomes = await broker.publish([message('1', { dueAtMs: Date.now() + 86_400_000 })]);
    expect(outcomes.map(summary)).toEqual(['stored']);
  });

  it('nests: a task may wait for one that it publishes', async () => {
    const ended: string[] = [];
    await work(async (delivery) => {
      const depth = Number(delivery.body);
      if (depth > 0) expect(await publish(`${depth - 1}`)).toEqual(['stored']);
      ended.push(delivery.body);
      return ack(delivery);
    });
    expect(await publish('20')).toEqual(['stored']);
    expect(ended).toEqual(Array.from({ length: 21 }, (_, i) => `${i}`));
  });

  it('may be under way several times', async () => {
    const held = new Map<string, (settlement: Settlement) => void>();
    const deliveries = new Map<string, Delivery>();
    await work((delivery) => {
      deliveries.set(delivery.body, delivery);
      return new Promise((resolve) => held.set(delivery.body, resolve));
    });
    const [first, second] = [publish('1'), publish('2')];
    await new Promise((resolve) => setImmediate(resolve));
    held.get('2')?.(ack(deliveries.get('2') as Delivery));
    expect(await second).toEqual(['stored']);
    held.get('1')?.(dead(deliveries.get('1') as Delivery, 'broken'));
    expect(await first).toEqual(['ERR_MACHINERY_BROKER_FAILED']);
  });

  it('answers an empty batch with no outcomes', async () => {
    expect(await publish()).toEqual([]);
  });
});

describe('publish fails, never to be repeated', () => {
  it('without a worker for the queue', async () => {
    await work(ack, 'other');
    expect(await failure('1')).toMatch(/no worker is started in this process for queue q/);
  });

  it('after the worker was closed', async () => {
    await (await work(ack)).close();
    expect(await failure('1')).toMatch(/no worker is started/);
  });

  it('with the reason of a dead message', async () => {
    await work((delivery) => dead(delivery, 'the body is not JSON'));
    expect(await failure('1')).toMatch(/the body is not JSON/);
  });

  it.each(['front', 'back'] as const)('when the task is put back to the %s', async (position) => {
    await work((delivery) => requeue(delivery, position));
    expect(await failure('1')).toMatch(/gave task add \(1\) back without running it/);
  });

  it('one message at a time: the others are stored', async () => {
    await work((delivery) => (delivery.body === '2' ? dead(delivery, 'broken') : ack(delivery)));
    expect(await publish('1', '2', '3')).toEqual(['stored', 'ERR_MACHINERY_BROKER_FAILED', 'stored']);
  });

  it('when its consumer is closed, whether handed out or not', async () => {
    const consumer = await broker.consume(options());
    const handedOut = failure('1');
    await consumer.exchange([], 1, never);
    const waiting = failure('2');
    await consumer.close();
    expect(await handedOut).toMatch(/closed before task add \(1\) had ended/);
    expect(await waiting).toMatch(/closed before task add \(2\) had ended/);
  });

  it('after close, and when the broker is closed under way', async () => {
    const consumer = await broker.consume(options());
    const exchange = consumer.exchange([], 1, never);
    const under = failure('1');
    await exchange;
    await broker.close();
    await broker.close();
    expect(await under).toMatch(/closed before/);
    expect(await publish('2')).toEqual(['ERR_MACHINERY_CLOSED']);
    await expect(broker.consume(options())).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
  });
});

describe('exchange', () => {
  it('hands out all there is, whatever `want` says', async () => {
    const consumer = await broker.consume(options());
    const waiting = consumer.exchange([], 1, never);
    const published = publish('1', '2', '3');
    const deliveries = await waiting;
    expect(deliveries).toMatchObject(['1', '2', '3'].map((body) => ({ body, redelivered: false })));
    await consumer.settle(deliveries.map(ack));
    expect(await published).toEqual(['stored', 'stored', 'stored']);
  });

  it('resolves with nothing once its signal aborts, and the message stays', async () => {
    const consumer = await broker.consume(options());
    const abort = new AbortController();
    const waiting = consumer.exchange([], 1, abort.signal);
    const published = publish('1');
    abort.abort();
    expect(await waiting).toEqual([]);
    const deliveries = await consumer.exchange([], 1, never);
    expect(bodies(deliveries)).toEqual(['1']);
    await consumer.settle(deliveries.map(ack));
    expect(await published).toEqual(['stored']);
  });

  it('is shared by the consumers of a queue in turns', async () => {
    const got: string[] = [];
    for (const name of ['a', 'b']) {
      await work((delivery) => {
        got.push(`${name}${delivery.body}`);
        return ack(delivery);
      });
    }
    for (const body of ['1', '2', '3']) await publish(body);
    expect(got).toEqual(['a1', 'b2', 'a3']);
  });

  it('ignores a settlement of another consumer and a second one', async () => {
    const [consumer, other] = [await broker.consume(options()), await broker.consume(options())];
    const published = publish('1');
    const [delivery] = (await consumer.exchange([], 1, never)) as [Delivery];
    await other.settle([dead(delivery, 'not mine')]);
    await consumer.settle([ack(delivery), dead(delivery, 'twice')]);
    expect(await published).toEqual(['stored']);
  });

  it('refuses a second one while one waits', async () => {
    const consumer = await broker.consume(options());
    void consumer.exchange([], 1, never);
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
  });
});

it('does not keep the process alive', async () => {
  const before = livingTimers();
  await work(ack);
  expect(livingTimers()).toBe(before);
});
