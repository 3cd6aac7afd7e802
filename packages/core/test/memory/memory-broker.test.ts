// The memory broker: publishing, handing out, several consumers, waiting and closing.

import { afterEach, describe, expect, it } from 'vitest';
import { MemoryBroker } from '../../src/memory/memory-broker.ts';
import { ack, bodies, livingTimers, message, never, options, requeue, summary, takeNow } from './messages.ts';

const brokers: MemoryBroker[] = [];
function create(...args: ConstructorParameters<typeof MemoryBroker>): MemoryBroker {
  const broker = new MemoryBroker(...args);
  brokers.push(broker);
  return broker;
}
afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.close();
});

describe('options', () => {
  it.each([
    [{ maxMessageBytes: 0 }, /MemoryBroker.*`maxMessageBytes`.*an integer >= 1.*`0` \(number\)/],
    [{ maxQueueLength: 1.5 }, /`maxQueueLength`/],
    [{ maxDeadMessages: -1 }, /`maxDeadMessages`/],
    [{ maxDelayMs: '1s' as never }, /`maxDelayMs`/],
    [{ maxDelay: 1 } as never, /unknown option `maxDelay`/],
    [null as never, /options to be an object/],
  ])('refuses %o', (wrong, text) => {
    expect(() => new MemoryBroker(wrong)).toThrowError(
      expect.objectContaining({ code: 'ERR_MACHINERY_INVALID_OPTION', message: expect.stringMatching(text) }),
    );
  });

  it('declares only the limits that are set', () => {
    expect(create().capabilities).toEqual({ deliveryCount: true, listPending: true, listDelayed: true });
    expect(create({ maxMessageBytes: 5, maxDelayMs: 0 }).capabilities).toMatchObject({
      maxMessageBytes: 5,
      maxDelayMs: 0,
    });
  });
});

describe('publish', () => {
  it('keeps the order of each routing key', async () => {
    const broker = create();
    const outcomes = await broker.publish([message('1'), message('a', { queue: 'other' }), message('2')]);
    expect(outcomes.map(summary)).toEqual(['stored', 'stored', 'stored']);
    await broker.publish([message('3')]);
    expect(await broker.pendingMessages('q', 10)).toEqual(['1', '2', '3']);
    expect(await broker.pendingMessages('other', 10)).toEqual(['a']);
  });

  it('answers an empty batch with no outcomes', async () => {
    expect(await create().publish([])).toEqual([]);
  });

  it('refuses a body that is too large in bytes, for good, and stores the others', async () => {
    const broker = create({ maxMessageBytes: 4 });
    const outcomes = await broker.publish([message('1234'), message('12345'), message('ééé'), message('éé')]);
    const tooLarge = 'ERR_MACHINERY_MESSAGE_TOO_LARGE';
    expect(outcomes.map(summary)).toEqual(['stored', tooLarge, tooLarge, 'stored']);
    expect(await broker.pendingMessages('q', 10)).toEqual(['1234', 'éé']);
  });

  it('refuses what a full queue cannot hold, to be tried again, and stores the others', async () => {
    const broker = create({ maxQueueLength: 2 });
    const outcomes = await broker.publish([message('1'), message('2'), message('3'), message('a', { queue: 'other' })]);
    expect(outcomes.map(summary)).toEqual([
      'stored',
      'stored',
      'ERR_MACHINERY_BROKER_UNAVAILABLE, retryable',
      'stored',
    ]);
    const consumer = await broker.consume(options());
    const [first] = await consumer.exchange([], 1, never);
    expect((await broker.publish([message('3')])).map(summary)).toEqual(['stored']);
    await consumer.settle([requeue(first as never, 'front')]);
    expect(await broker.pendingMessages('q', 10)).toEqual(['1', '2', '3']);
  });

  it('counts delayed messages as part of a full queue', async () => {
    const broker = create({ maxQueueLength: 1 });
    const dueAtMs = Date.now() + 60_000;
    const [first, second] = await broker.publish([message('1', { dueAtMs }), message('2')]);
    expect([first, second].map((outcome) => summary(outcome as never))).toEqual([
      'stored',
      'ERR_MACHINERY_BROKER_UNAVAILABLE, retryable',
    ]);
  });

  it('lists at most as many pending messages as asked for, and none of a queue that is not there', async () => {
    const broker = create();
    await broker.publish([message('1'), message('2'), message('3')]);
    expect(await broker.pendingMessages('q', 2)).toEqual(['1', '2']);
    expect(await broker.pendingMessages('q', 0)).toEqual([]);
    expect(await broker.pendingMessages('nobody', 5)).toEqual([]);
  });
});

describe('exchange', () => {
  it('hands out at most `want`, in order, as first deliveries', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    await broker.publish(['1', '2', '3'].map((body) => message(body)));
    const first = await consumer.exchange([], 2, never);
    expect(bodies(first)).toEqual(['1', '2']);
    expect(first[0]).toMatchObject({ redelivered: false, deliveryCount: 1 });
    expect(bodies(await consumer.exchange(first.map(ack), 2, never))).toEqual(['3']);
  });

  it('waits for a message and gets those of one tick together', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const waiting = consumer.exchange([], 10, never);
    void broker.publish([message('1'), message('2')]);
    void broker.publish([message('3')]);
    expect(bodies(await waiting)).toEqual(['1', '2', '3']);
  });

  it('resolves with nothing once its signal aborts, and loses nothing', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const abort = new AbortController();
    const waiting = consumer.exchange([], 10, abort.signal);
    void broker.publish([message('1')]);
    abort.abort();
    expect(await waiting).toEqual([]);
    expect(await broker.pendingMessages('q', 10)).toEqual(['1']);
    expect(bodies(await consumer.exchange([], 10, never))).toEqual(['1']);
  });

  it('settles but takes nothing when its signal has aborted before', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    await broker.publish([message('1'), message('2')]);
    const [first] = await consumer.exchange([], 1, never);
    expect(await consumer.exchange([ack(first as never)], 1, AbortSignal.abort())).toEqual([]);
    await consumer.close();
    expect(await broker.pendingMessages('q', 10)).toEqual(['2']);
  });

  it('listens to a new signal when the one before is over', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    for (let round = 0; round < 3; round++) {
      const abort = new AbortController();
      const waiting = consumer.exchange([], 1, abort.signal);
      abort.abort();
      expect(await waiting).toEqual([]);
    }
  });

  it('does not end a later exchange when the signal of an earlier one aborts', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const earlier = new AbortController();
    const waiting = consumer.exchange([], 1, earlier.signal);
    await broker.publish([message('1')]);
    await waiting;
    const later = consumer.exchange([], 1, never);
    earlier.abort();
    await broker.publish([message('2')]);
    expect(bodies(await later)).toEqual(['2']);
  });

  it('refuses a second exchange while one waits', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const waiting = consumer.exchange([], 1, never);
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
    await broker.publish([message('1')]);
    expect(bodies(await waiting)).toEqual(['1']);
  });

  it('gets what it puts back itself in the same call', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    await broker.publish([message('1')]);
    const [first] = await consumer.exchange([], 1, never);
    expect(bodies(await consumer.exchange([requeue(first as never, 'back')], 1, never))).toEqual(['1']);
  });

  it('is not in the way of a settle while it waits', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    await broker.publish([message('1')]);
    const [first] = await consumer.exchange([], 1, never);
    const waiting = consumer.exchange([], 1, never);
    await consumer.settle([requeue(first as never, 'front')]);
    expect(bodies(await waiting)).toEqual(['1']);
  });
});

describe('several consumers of a queue', () => {
  it('are served in the order in which they came, each up to its `want`', async () => {
    const broker = create();
    const [a, b, c] = [
      await broker.consume(options()),
      await broker.consume(options()),
      await broker.consume(options()),
    ];
    const waiting = [b.exchange([], 2, never), a.exchange([], 1, never), c.exchange([], 5, never)];
    await broker.publish(['1', '2', '3', '4'].map((body) => message(body)));
    expect((await Promise.all(waiting)).map(bodies)).toEqual([['1', '2'], ['3'], ['4']]);
  });

  it('do not overtake one that waits already', async () => {
    const broker = create();
    const [a, b] = [await broker.consume(options()), await broker.consume(options())];
    const first = a.exchange([], 1, never);
    void broker.publish([message('1')]);
    const second = b.exchange([], 1, never);
    expect(bodies(await first)).toEqual(['1']);
    await broker.publish([message('2')]);
    expect(bodies(await second)).toEqual(['2']);
  });

  it('take turns when messages come one at a time', async () => {
    const broker = create();
    const consumers = [await broker.consume(options()), await broker.consume(options())] as const;
    const got: string[] = [];
    const loops = consumers.map(async (consumer, i) => {
      for (let n = 0; n < 3; n++) {
        for (const { body } of await consumer.exchange([], 10, never)) got.push(`${i}:${body}`);
      }
    });
    for (let n = 0; n < 6; n++) {
      await broker.publish([message(`${n}`)]);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(loops);
    expect(got).toEqual(['0:0', '1:1', '0:2', '1:3', '0:4', '1:5']);
  });

  it('pass on what an aborted one did not get', async () => {
    const broker = create();
    const [a, b] = [await broker.consume(options()), await broker.consume(options())];
    const abort = new AbortController();
    const [first, second] = [a.exchange([], 1, abort.signal), b.exchange([], 1, never)];
    void broker.publish([message('1')]);
    abort.abort();
    expect(await first).toEqual([]);
    expect(bodies(await second)).toEqual(['1']);
  });

  it('of different queues do not see each other', async () => {
    const broker = create();
    const [a, b] = [await broker.consume(options('a')), await broker.consume(options('b'))];
    await broker.publish([message('1', { queue: 'b' })]);
    expect(await takeNow(a, 5)).toEqual([]);
    expect(bodies(await takeNow(b, 5))).toEqual(['1']);
  });
});

describe('close', () => {
  it('of a consumer ends its waiting exchange with nothing, may be repeated, and takes no other', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const waiting = consumer.exchange([], 1, never);
    await consumer.close();
    await consumer.close();
    expect(await waiting).toEqual([]);
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await broker.publish([message('1')]);
    expect(await broker.pendingMessages('q', 1)).toEqual(['1']);
  });

  it('of the broker ends waiting exchanges and refuses publishes and consumers', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    const waiting = consumer.exchange([], 1, never);
    await broker.close();
    await broker.close();
    expect(await waiting).toEqual([]);
    expect((await broker.publish([message('1'), message('2')])).map(summary)).toEqual([
      'ERR_MACHINERY_CLOSED',
      'ERR_MACHINERY_CLOSED',
    ]);
    await expect(broker.consume(options())).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await expect(consumer.exchange([], 1, never)).rejects.toMatchObject({ code: 'ERR_MACHINERY_CLOSED' });
    await consumer.close();
  });

  it('of the broker keeps what was in hand readable', async () => {
    const broker = create();
    const consumer = await broker.consume(options());
    await broker.publish([message('1'), message('2')]);
    const [first] = await consumer.exchange([], 1, never);
    await broker.close();
    await consumer.settle([ack(first as never)]);
    expect(await broker.pendingMessages('q', 5)).toEqual(['1', '2']);
  });
});

describe('the process', () => {
  it('is kept alive by an open consumer', async () => {
    const before = livingTimers();
    const broker = create();
    await broker.publish([message('1')]);
    expect(livingTimers()).toBe(before);
    const consumer = await broker.consume(options());
    expect(livingTimers()).toBe(before + 1);
    await consumer.close();
    expect(livingTimers()).toBe(before);
  });

  it('is kept alive by a delayed message, and by nothing after close', async () => {
    const before = livingTimers();
    const broker = create();
    await broker.publish([
      message('1', { dueAtMs: Date.now() + 60_000 }),
      message('2', { dueAtMs: Date.now() + 50_000 }),
    ]);
    expect(livingTimers()).toBe(before + 1);
    const consumer = await broker.consume(options());
    await broker.publish([message('3')]);
    const [third] = await consumer.exchange([], 1, never);
    await broker.close();
    await consumer.settle([requeue(third as never, 'back', 1_000)]);
    expect(livingTimers()).toBe(before);
  });
});
