// A trace holds together over real servers, whose sender and worker share nothing but them.

import { AmqpBackend } from '@machinery/backend-amqp';
import { RedisBackend } from '@machinery/backend-redis';
import { AmqpBroker } from '@machinery/broker-amqp';
import { RedisBroker } from '@machinery/broker-redis';
import { type Backend, type Broker, chord, defineTask, int64, rest, Server, silentLogger } from '@machinery/core';
import { rabbitServer, redisServer } from '@machinery/services';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { Sdk } from './setup.ts';

const [redis, rabbit] = [await redisServer(), await rabbitServer()];
afterAll(() => Promise.all([redis?.stop(), rabbit?.stop()]));

const add = defineTask('add', { args: rest(int64), returns: int64 });
const multiply = defineTask('multiply', { args: rest(int64), returns: int64 });

interface Transport {
  readonly name: string;
  readonly isMissing: boolean;
  readonly broker: () => Broker;
  readonly backend: () => Backend;
  readonly system: string;
}

const redisBackend = () => new RedisBackend({ url: redis?.url as string });
const amqpBroker = () => new AmqpBroker({ url: rabbit?.url as string });
const transports: readonly Transport[] = [
  {
    name: 'Redis',
    isMissing: redis === undefined,
    broker: () => new RedisBroker({ url: redis?.url as string }),
    backend: redisBackend,
    system: 'redis',
  },
  {
    name: 'RabbitMQ with states in Redis',
    isMissing: redis === undefined || rabbit === undefined,
    broker: amqpBroker,
    backend: redisBackend,
    system: 'rabbitmq',
  },
  {
    name: 'RabbitMQ alone',
    isMissing: rabbit === undefined,
    broker: amqpBroker,
    backend: () => new AmqpBackend({ url: rabbit?.url as string }),
    system: 'rabbitmq',
  },
];

for (const { name, isMissing, broker: makeBroker, backend: makeBackend, system } of transports) {
  it.skipIf(isMissing)(`on ${name}: from the sender through workers to the callback of a chord`, async () => {
    const sdk = new Sdk();
    const queue = `otel-${process.pid}-${name.replaceAll(' ', '-')}`;
    const open = () => {
      const telemetry = sdk.telemetry();
      const options = {
        broker: makeBroker(),
        backend: makeBackend(),
        telemetry,
        defaultQueue: queue,
        logger: silentLogger,
      };
      const server = new Server(options);
      onTestFinished(() => server.close());
      return server;
    };
    const [sender, working] = [open(), open()];
    working.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
    working.handle(multiply, (_task, ...factors) => factors.reduce((a, b) => a * b, 1));
    await working.newWorker('worker-1').start();
    const result = await sender.send(chord([add(1, 1), add(2, 2), add(5, 6)], multiply.partial()));
    expect(await result.get({ timeoutMs: 20_000 })).toBe(88);
    await expect.poll(() => sdk.spans.length).toBe(6); // the result may be there before its message is confirmed
    const callback = sdk.span('process multiply');
    expect(sdk.traces).toBe(1);
    expect(sdk.tree()).toContain('process add\n    send multiply\n      process multiply');
    for (const { attributes } of sdk.spans) expect(attributes).toMatchObject({ 'messaging.system': system });
    expect(callback.attributes['messaging.destination.name']).toBe(queue);
  });

  it.skipIf(isMissing)(`on ${name}: the length of a queue`, async () => {
    const broker = makeBroker();
    onTestFinished(() => broker.close());
    const queue = `otel-${process.pid}-${name.replaceAll(' ', '-')}-length`;
    expect(await broker.countPending?.(queue)).toBe(0);
    broker.attach?.({ defaultQueue: queue, logger: silentLogger });
    const message = (uuid: string) => ({
      body: `{"UUID":"${uuid}"}`,
      routingKey: queue,
      signature: { name: 'x', uuid },
    });
    await broker.publish([message('1'), message('2')]);
    const sdk = new Sdk();
    sdk.telemetry().observeQueue(broker, queue);
    expect(await sdk.points('machinery.queue.length')).toMatchObject([{ value: 2 }]);
    expect(await broker.countPending?.(queue)).toBe(2); // it took nothing
    const consumer = await broker.consume({ queue, tag: 'empties', slots: 2, maxInHand: 2 });
    onTestFinished(() => consumer.close());
  });
}
