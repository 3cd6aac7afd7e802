// What is measured, on the in-memory engine.

import { defineTask, string } from '@machinery/core';
import type { DataPoint, Histogram } from '@opentelemetry/sdk-metrics';
import { expect, it, vi } from 'vitest';
import { memoryServer } from './setup.ts';

const ok = defineTask('ok', { args: [string] });
const fail = defineTask('fail', { args: [string] });
const system = '@machinery/core/memory MemoryBroker';

async function ran() {
  const test = memoryServer();
  const { server } = test;
  let runs = 0;
  server.handle(ok, () => {});
  server.handle(fail, () => {
    throw new RangeError(`run ${++runs}`);
  });
  await server.send(ok('x'), { delayMs: 300 });
  await server.send(ok('y'), { delayMs: 300 });
  await server.newWorker('worker-1').start();
  const failing = await server.send(fail('x'), { retries: 1, backoff: { delayMs: 0 } });
  await failing.get().catch(() => {});
  await expect.poll(async () => (await test.sdk.points('machinery.succeeded.tasks'))[0]?.value).toBe(2);
  await server.close();
  return test;
}

it('counts and times what is sent and run, by task and queue', async () => {
  const { sdk } = await ran();
  const common = { 'messaging.system': system, 'messaging.destination.name': 'q' };
  const operation = (name: string) => ({ 'messaging.operation.name': name, 'messaging.operation.type': name });
  const process = (task: string) => ({ ...common, ...operation('process'), 'machinery.task.name': task });
  const failed = { ...process('fail'), 'error.type': 'RangeError' };
  const points = async (name: string) =>
    (await sdk.points(name)).map(({ attributes, value }) => ({ attributes, value })).toSorted(byTask);
  expect(await points('messaging.client.sent.messages')).toEqual([
    { attributes: { ...process('fail'), ...operation('send') }, value: 2 },
    { attributes: { ...process('ok'), ...operation('send') }, value: 2 },
  ]);
  expect(await points('messaging.client.consumed.messages')).toEqual([
    { attributes: process('fail'), value: 2 },
    { attributes: process('ok'), value: 2 },
  ]);
  expect(await points('machinery.succeeded.tasks')).toEqual([{ attributes: process('ok'), value: 2 }]);
  expect(await points('machinery.failed.tasks')).toEqual([{ attributes: failed, value: 1 }]);
  expect(await points('machinery.retried.tasks')).toEqual([{ attributes: failed, value: 1 }]);
  expect(await points('machinery.running.tasks')).toEqual([
    { attributes: process('fail'), value: 0 },
    { attributes: process('ok'), value: 0 },
  ]);
  expect(await points('messaging.process.duration')).toMatchObject([
    { attributes: failed, value: { count: 2 } },
    { attributes: process('ok'), value: { count: 2 } },
  ]);
  expect(await points('messaging.client.operation.duration')).toMatchObject([
    { attributes: { ...common, ...operation('send') }, value: { count: 3 } },
  ]);
});

it('times the wait in seconds, from the ETA on', async () => {
  const { sdk } = await ran();
  const waits = await sdk.points('machinery.queue.wait.duration');
  const wait = waits.find(({ attributes }) => attributes['machinery.task.name'] === 'ok');
  const { count, max } = (wait as DataPoint<Histogram>).value;
  expect(count).toBe(2);
  expect(max).toBeLessThan(0.3);
});

it('counts redeliveries', async () => {
  const { sdk, server, broker } = memoryServer();
  await server.send(ok('x'));
  const consumer = await broker.consume({ queue: 'q', tag: 'dies', slots: 1, maxInHand: 1 });
  await consumer.exchange([], 1, AbortSignal.timeout(5_000));
  await consumer.close(); // as a process that dies with its message
  server.handle(ok, () => {});
  await server.newWorker('worker-1').start();
  await expect.poll(async () => (await sdk.points('machinery.redelivered.messages'))[0]?.value).toBe(1);
  await expect.poll(() => sdk.span('process ok').attributes['machinery.task.redelivered']).toBe(true);
});

it('observes the length of a queue until it is told to stop', async () => {
  const { sdk, server, broker, telemetry } = memoryServer();
  const count = vi.spyOn(broker, 'countPending');
  const stop = telemetry.observeQueue(broker, 'q');
  await server.send(ok('x'));
  await server.send(ok('y'));
  const attributes = { 'messaging.system': system, 'messaging.destination.name': 'q' };
  expect(await sdk.points('machinery.queue.length')).toMatchObject([{ attributes, value: 2 }]);
  stop?.();
  await sdk.points('machinery.queue.length');
  expect(count).toHaveBeenCalledTimes(1);
  expect(telemetry.observeQueue(Object.assign(broker, { countPending: undefined }), 'q')).toBeUndefined();
});

function byTask(a: { readonly attributes: object }, b: { readonly attributes: object }): number {
  return JSON.stringify(a.attributes) < JSON.stringify(b.attributes) ? -1 : 1;
}
