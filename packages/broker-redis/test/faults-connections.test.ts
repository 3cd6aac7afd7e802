// Connections that are cut, that stall, and replies that are lost.

import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom, within } from '@machinery/conformance';
import { type Delivery, encodeSignature, MachineryError } from '@machinery/core';
import { type StartedRedis, startRedis, tcpProxy } from '@machinery/services';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { hold, patienceMs, Scene, work } from './faults/setup.ts';

const redis = (await startRedis()) as StartedRedis;
afterAll(() => redis?.stop());

/** What a publisher may be told while its server is away. */
const away = ['ERR_MACHINERY_PUBLISH_UNKNOWN', 'ERR_MACHINERY_BROKER_UNAVAILABLE', 'ERR_MACHINERY_BACKEND_UNAVAILABLE'];

async function newProxy() {
  const proxy = await tcpProxy({ to: redis.port });
  onTestFinished(() => proxy.close());
  return Object.assign(proxy, { url: `redis://127.0.0.1:${proxy.port}` });
}

function newClient(): Redis {
  const client = new Redis(redis.url);
  onTestFinished(() => client.disconnect());
  return client;
}

describe.skipIf(redis === undefined)('connections', () => {
  it('that are cut and stall at random moments lose nothing, and everything comes back by itself', async () => {
    const scene = new Scene(redis.url);
    const proxy = await newProxy();
    const through = { url: proxy.url, commandTimeoutMs: 300 };
    const worker = await scene.start({ name: 'worker', ...through });
    const publisher = scene.newServer(through);
    const held = await publisher.send(hold(0));
    const waiting = held.get();
    waiting.catch(() => {}); // awaited later
    await scene.reported('the task to begin', () => worker.begun('hold').length === 1);

    const accepted: { uuid: string; n: number }[] = [];
    const refused: unknown[] = [];
    let faults = 0;
    const enough = () => accepted.length >= 300 && faults >= 30;
    const publish = async (lane: number) => {
      for (let n = lane; !enough(); n += 10) {
        try {
          const { uuid } = await publisher.send(work(n));
          accepted.push({ uuid, n });
        } catch (error) {
          refused.push(MachineryError.is(error) ? error.code : error);
          await sleep(20);
        }
      }
    };
    const random = seededRandom(1);
    const breakThings = async () => {
      for (; !enough(); faults++) {
        await sleep(random() * 100);
        const kind = random();
        if (kind > 0.5) proxy.stall(kind > 0.75 ? 'everything' : 'replies');
        // Some for longer than answers may take
        if (kind > 0.5) await sleep(random() * 400);
        if (random() > 0.5 || kind <= 0.5) proxy.cut();
        proxy.resume();
      }
    };
    const lanes = Array.from({ length: 10 }, (_, lane) => publish(lane));
    await within(patienceMs, 'all publishers to be told', Promise.all([breakThings(), ...lanes]));
    for (const code of refused) expect(away).toContain(code);

    const results = accepted.map(({ uuid }) => scene.server.result(uuid, work).get());
    const ended = worker.whileAlive(Promise.all(results));
    expect(await within(patienceMs, 'all accepted tasks to end', ended)).toEqual(accepted.map(({ n }) => n));
    worker.release();
    expect(await within(patienceMs, 'who waited to be told', waiting)).toBe('worker');

    const last = await publisher.send(work(-1));
    expect(await last.get({ timeoutMs: patienceMs })).toBe(-1);
    expect(await within(patienceMs, 'the worker to close', worker.program.stop())).toBe(0);
    proxy.stall();
    await within(5_000, 'a server to close that nobody answers', publisher.close());
  }, 60_000);

  it('that lose the reply of a take leave its messages with the worker that took them', async () => {
    const scene = new Scene(redis.url);
    const client = newClient();
    const proxy = await newProxy();
    const sent = await Promise.all([1, 2, 3, 4, 5].map((n) => scene.server.send(work(n))));
    const server = scene.newServer({ url: proxy.url, leaseMs: 60_000, beatMs: 300 }, redis.url);
    const ran: number[] = [];
    server.handle(work, (_task, n) => {
      ran.push(n);
      return n;
    });
    let isFirst = true;
    const preConsumeHandler = () => {
      if (isFirst) proxy.stall('replies'); // that of the take, which is the next that it asks for
      isFirst = false;
      return true;
    };
    await server.newWorker('worker', { preConsumeHandler }).start();
    while ((await client.llen(scene.queue)) > 0) await sleep(5);
    expect(ran).toEqual([]);
    proxy.cut();
    proxy.resume();
    const values = await Promise.all(sent.map((result) => result.get({ timeoutMs: 5_000 })));
    expect(values).toEqual([1, 2, 3, 4, 5]);
    expect(ran.sort()).toEqual([1, 2, 3, 4, 5]);
  }, 30_000);

  it('that lose what wakes an idle worker leave its messages with it', async () => {
    const scene = new Scene(redis.url);
    const proxy = await newProxy();
    const server = scene.newServer({ url: proxy.url, leaseMs: 60_000, beatMs: 300 }, redis.url);
    const ran: number[] = [];
    server.handle(work, (_task, n) => {
      ran.push(n);
      return n;
    });
    await server.newWorker('worker').start();
    expect(await (await scene.server.send(work(0))).get({ timeoutMs: patienceMs })).toBe(0);
    proxy.stall('replies');
    const sent = await Promise.all([1, 2, 3, 4, 5].map((n) => scene.server.send(work(n))));
    proxy.cut();
    proxy.resume();
    const values = await Promise.all(sent.map((result) => result.get({ timeoutMs: 5_000 })));
    expect(values).toEqual([1, 2, 3, 4, 5]);
    expect(ran.sort()).toEqual([0, 1, 2, 3, 4, 5]);
  }, 30_000);

  it('that were cut once let everything that is sent after that come once', async () => {
    const scene = new Scene(redis.url);
    const { queue } = scene;
    const proxy = await newProxy();
    // Its beats look for what a lost reply may have taken
    const { broker } = scene.newServer({ url: proxy.url, leaseMs: 60_000, beatMs: 100 }, redis.url);
    const consumer = await broker.consume({ queue, tag: 'worker', slots: 10, maxInHand: 20 });
    proxy.cut();
    await consumer.exchange([], 1, AbortSignal.timeout(1_000)).catch(() => {});

    const count = 10_000;
    const client = newClient();
    const bodies = Array.from({ length: count }, (_, n) => encodeSignature({ ...work(n), uuid: `task_${n}` }));
    for (let i = 0; i < count; i += 1_000) await client.rpush(queue, ...bodies.slice(i, i + 1_000));
    const came: string[] = [];
    let deliveries: Delivery[] = [];
    do {
      const settled = deliveries.map((delivery) => ({ kind: 'ack' as const, delivery }));
      deliveries = await consumer.exchange(settled, 10, AbortSignal.timeout(1_000));
      came.push(...deliveries.map(({ body }) => body));
    } while (deliveries.length > 0);
    expect(new Set(came).size).toBe(count);
    expect(came.length).toBe(count);
  }, 30_000);
});
