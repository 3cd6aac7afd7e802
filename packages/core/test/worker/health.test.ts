// What probes are told.

import { describe, expect, it } from 'vitest';
import { EagerBroker, MemoryBackend, NullBackend } from '../../src/memory/index.ts';
import { Server } from '../../src/server.ts';
import { brokerAway } from './faulty-broker.ts';
import { gate } from './journal.ts';
import { testServer } from './test-server.ts';

describe('worker.health', () => {
  it('is not consuming before it started, while it is paused, and after it stopped', async () => {
    const test = testServer();
    const worker = test.newWorker();
    const health = () => {
      const { connected, consuming } = worker.health();
      return { connected, consuming };
    };
    expect(worker.health()).toEqual({
      consumerTag: 'worker-1',
      queue: 'q',
      connected: false,
      consuming: false,
      inHand: 0,
      lastSuccessAt: undefined,
    });
    await worker.start();
    expect(health()).toEqual({ connected: true, consuming: true });
    worker.pause();
    expect(health()).toEqual({ connected: true, consuming: false });
    worker.resume();
    expect(health()).toEqual({ connected: true, consuming: true });
    await worker.quit();
    expect(health()).toEqual({ connected: false, consuming: false });
  });

  it('counts what is in hand, and says when a task last succeeded', async () => {
    const test = testServer();
    const [begun, release] = [gate(), gate()];
    test.server.registerTask('wait', async () => {
      begun.open();
      await release.opened;
    });
    test.server.registerTask('fail', () => {
      throw new Error('no');
    });
    const worker = await test.startWorker();
    const failing = await test.server.send({ name: 'fail' });
    await expect(failing.get()).rejects.toThrow('no');
    const before = Date.now();
    const waiting = await test.server.send({ name: 'wait' });
    await begun.opened;
    expect(worker.health()).toMatchObject({ inHand: 1, lastSuccessAt: undefined });
    release.open();
    await waiting.get();
    await test.broker.idle();
    const { inHand, lastSuccessAt } = worker.health();
    expect(inHand).toBe(0);
    expect(lastSuccessAt).toBeGreaterThanOrEqual(before);
    expect(lastSuccessAt).toBeLessThanOrEqual(Date.now());
  });

  it('is not connected while the broker is away', async () => {
    const test = testServer();
    let isAway = true;
    test.broker.onExchange = (_, next) => (isAway ? Promise.reject(brokerAway()) : next());
    const worker = await test.startWorker();
    await expect.poll(() => worker.health()).toMatchObject({ connected: false, consuming: false });
    expect((await test.server.health()).ok).toBe(false);
    isAway = false;
    await test.server.send({ name: 'nobody knows it' }); // or an exchange waits, and says nothing
    await expect.poll(() => worker.health(), { timeout: 5_000 }).toMatchObject({ connected: true, consuming: true });
    expect((await test.server.health()).ok).toBe(true);
  });
});

describe('server.health', () => {
  it('asks the broker and the backend, and lists the workers that were started', async () => {
    const test = testServer();
    test.newWorker();
    const worker = await test.startWorker();
    expect(await test.server.health()).toEqual({
      ok: true,
      broker: { name: 'FaultyBroker', connected: true },
      backend: { name: test.backend.name, connected: true },
      workers: [worker.health()],
    });
    await worker.quit();
    expect((await test.server.health()).workers).toEqual([]);
  });

  it.each(['broker', 'backend'] as const)(
    'is not well when the %s is away, does not answer, or throws',
    async (role) => {
      const test = testServer();
      const answers = (answer: () => Promise<never>) => {
        if (role === 'broker') test.broker.onPing = answer;
        else test.backend.onRead = answer;
      };
      answers(() => Promise.reject(new Error('away')));
      expect(await test.server.health()).toMatchObject({ ok: false, [role]: { connected: false, error: 'away' } });
      answers(() => new Promise(() => {}));
      expect(await test.server.health({ timeoutMs: 10 })).toMatchObject({
        ok: false,
        [role]: { connected: false, error: 'It has not answered in 10 ms' },
      });
      answers(() => {
        throw new Error('at once');
      });
      expect(await test.server.health()).toMatchObject({ ok: false, [role]: { connected: false, error: 'at once' } });
    },
  );

  it('does not know of what cannot be asked', async () => {
    await using server = new Server({ broker: new EagerBroker(), backend: new NullBackend() });
    const { ok, broker, backend } = await server.health();
    expect([ok, broker.connected, backend.connected]).toEqual([true, undefined, undefined]);
  });

  it('is not well when it is closed, and refuses options that are wrong', async () => {
    const server = new Server({ broker: new EagerBroker(), backend: new MemoryBackend() });
    await expect(server.health({ timeout: 5 } as object)).rejects.toThrow('unknown option `timeout`');
    await server.close();
    expect((await server.health()).ok).toBe(false);
  });
});
