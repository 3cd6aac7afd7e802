// The memory broker: delayed messages, never early and in order.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Consumer, Delivery } from '../../src/broker.ts';
import { MemoryBroker } from '../../src/memory/memory-broker.ts';
import { bodies, message, never, options, requeue, summary, takeNow } from './messages.ts';

let broker: MemoryBroker;
let consumer: Consumer;
beforeEach(async () => {
  broker = new MemoryBroker();
  consumer = await broker.consume(options());
});
afterEach(async () => {
  await broker.close();
  vi.useRealTimers();
});

/** Takes until there are `count`, with the time at which each came. */
async function takeAll(count: number): Promise<{ body: string; at: number }[]> {
  const got: { body: string; at: number }[] = [];
  while (got.length < count) {
    for (const { body } of await consumer.exchange([], 100, never)) got.push({ body, at: Date.now() });
  }
  return got;
}

describe('a delayed message', () => {
  it('comes when it is due, never early by Date.now()', async () => {
    const start = Date.now() + 100; // none is due before all are published
    const delays = [30, 1, 17, 2, 5, 44, 3];
    await broker.publish(delays.map((ms) => message(`${ms}`, { dueAtMs: start + ms })));
    const got = await takeAll(delays.length);
    expect(got.map(({ body }) => Number(body))).toEqual(delays.toSorted((a, b) => a - b));
    for (const { body, at } of got) {
      expect(at).toBeGreaterThanOrEqual(start + Number(body));
      expect(at).toBeLessThan(start + Number(body) + 2_000);
    }
  });

  it('that was due before comes at once', async () => {
    await broker.publish([
      message('past', { dueAtMs: Date.now() - 1_000 }),
      message('zero', { dueAtMs: 0 }),
      message('now'),
    ]);
    expect(await broker.pendingMessages('q', 5)).toEqual(['past', 'zero', 'now']);
  });

  it('comes after those of the same time that were published before', async () => {
    const dueAtMs = Date.now() + 10;
    await broker.publish(['1', '2', '3', '4', '5'].map((body) => message(body, { dueAtMs })));
    expect((await takeAll(5)).map(({ body }) => body)).toEqual(['1', '2', '3', '4', '5']);
  });

  it('does not wait for a later one that was published before', async () => {
    const start = Date.now();
    await broker.publish([message('late', { dueAtMs: start + 60_000 })]);
    await broker.publish([message('soon', { dueAtMs: start + 15 })]);
    expect((await takeAll(1)).map(({ body }) => body)).toEqual(['soon']);
    expect(await broker.delayedMessages(5)).toEqual(['late']);
  });

  it('goes to its own queue', async () => {
    const other = await broker.consume(options('other'));
    await broker.publish([message('1', { queue: 'other', dueAtMs: Date.now() + 5 })]);
    expect(bodies(await other.exchange([], 1, never))).toEqual(['1']);
  });

  it('is listed until it is due, soonest first, and taken by nobody', async () => {
    const now = Date.now();
    const due = (body: string, ms: number, queue = 'q') => message(body, { dueAtMs: now + ms, queue });
    await broker.publish([due('3', 70_000), due('1', 50_000), due('2', 60_000, 'other'), due('4', 80_000)]);
    expect(await broker.delayedMessages(3)).toEqual(['1', '2', '3']);
    expect(await broker.delayedMessages(100)).toEqual(['1', '2', '3', '4']);
    expect(await broker.pendingMessages('q', 5)).toEqual([]);
    expect(await takeNow(consumer, 5)).toEqual([]);
  });

  it('is refused for good beyond maxDelayMs, and the others are stored', async () => {
    broker = new MemoryBroker({ maxDelayMs: 30_000 });
    const due = (ms: number) => message(`${ms}`, { dueAtMs: Date.now() + ms });
    const outcomes = await broker.publish([due(60_000), due(30_000), due(-60_000)]);
    expect(outcomes.map(summary)).toEqual(['ERR_MACHINERY_INVALID_ARGUMENT', 'stored', 'stored']);
  });

  it('that is not due for weeks does not overflow the timer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    const spy = vi.spyOn(globalThis, 'setTimeout');
    const day = 86_400_000;
    await broker.publish([message('1', { dueAtMs: Date.now() + 30 * day })]);
    vi.advanceTimersByTime(30 * day - 1);
    expect(await broker.pendingMessages('q', 5)).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(await broker.pendingMessages('q', 5)).toEqual(['1']);
    for (const [, ms] of spy.mock.calls) expect(ms).toBeLessThan(2 ** 31);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('comes within a minute after the clock was set forward', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    await broker.publish([message('1', { dueAtMs: Date.now() + 3_600_000 })]);
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(60_000);
    expect(await broker.pendingMessages('q', 5)).toEqual(['1']);
  });

  it('is not early after the clock was set back', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    await broker.publish([message('1', { dueAtMs: Date.now() + 1_000 })]);
    vi.setSystemTime(Date.now() - 5_000);
    vi.advanceTimersByTime(5_999);
    expect(await broker.pendingMessages('q', 5)).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(await broker.pendingMessages('q', 5)).toEqual(['1']);
  });

  it('comes to a consumer that started after it was due', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] });
    await broker.publish([message('1', { dueAtMs: Date.now() + 1_000 })]);
    vi.advanceTimersByTime(2_000);
    vi.useRealTimers();
    expect(bodies(await consumer.exchange([], 5, never))).toEqual(['1']);
  });
});

describe('requeue with a delay', () => {
  it('comes back after the delay, behind what waits, not as a redelivery', async () => {
    await broker.publish([message('1')]);
    const [delivery] = (await consumer.exchange([], 1, never)) as [Delivery];
    const start = Date.now();
    await consumer.settle([requeue(delivery, 'back', 20)]);
    expect(await broker.delayedMessages(5)).toEqual(['1']);
    await broker.publish([message('2')]);
    expect(bodies(await consumer.exchange([], 1, never))).toEqual(['2']);
    const [again] = await consumer.exchange([], 1, never);
    expect(Date.now()).toBeGreaterThanOrEqual(start + 20);
    expect(again).toMatchObject({ body: '1', redelivered: false, deliveryCount: 1 });
  });

  it('of 0 ms is at once', async () => {
    await broker.publish([message('1'), message('2')]);
    const [delivery] = (await consumer.exchange([], 1, never)) as [Delivery];
    await consumer.settle([requeue(delivery, 'back', 0)]);
    expect(await broker.pendingMessages('q', 5)).toEqual(['2', '1']);
  });

  it('is not lost when its consumer is closed before it is due', async () => {
    await broker.publish([message('1')]);
    const [delivery] = (await consumer.exchange([], 1, never)) as [Delivery];
    await consumer.settle([requeue(delivery, 'back', 10)]);
    await consumer.close();
    consumer = await broker.consume(options());
    expect(await consumer.exchange([], 1, never)).toMatchObject([{ body: '1', redelivered: false }]);
  });
});
