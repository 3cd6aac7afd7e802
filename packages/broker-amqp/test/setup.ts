// Queues, messages and a look at the server, for the tests of what the contract cannot say.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, type Delivery, MachineryError, type Message } from '@machinery/core';
import type { ControlledRabbit } from '@machinery/services';
import { type ChannelModel, connect } from 'amqplib';
import { onTestFinished } from 'vitest';
import { AmqpBroker, type AmqpBrokerOptions } from '../src/index.ts';

let last = 0;

export function newQueue(): string {
  last += 1;
  return `queue-${process.pid}-${last}`;
}

export function message(routingKey: string, uuid: string, dueAtMs?: number): Message {
  const body = JSON.stringify({ UUID: uuid, Name: 'task', RoutingKey: routingKey });
  return { body, routingKey, signature: { name: 'task', uuid, routingKey }, ...(dueAtMs !== undefined && { dueAtMs }) };
}

/** One in which nobody else has anything. */
export async function newVhost(rabbit: ControlledRabbit | undefined): Promise<string> {
  const vhost = `vhost-${process.pid}-${++last}`;
  await rabbit?.ctl('add_vhost', vhost);
  await rabbit?.ctl('set_permissions', '--vhost', vhost, 'guest', '.*', '.*', '.*');
  return vhost;
}

/** A broker that is closed when the test is over. */
export function open(options: AmqpBrokerOptions): AmqpBroker {
  const broker = new AmqpBroker(options);
  onTestFinished(() => broker.close().catch(() => {}));
  return broker;
}

/** A connection that looks at the server, past the broker, until the test is over. */
export async function raw(url: string): Promise<ChannelModel> {
  const model = await connect(url, { noDelay: true });
  model.on('error', () => {});
  onTestFinished(() => model.close().catch(() => {}));
  return model;
}

/** Takes `count` messages and acks them. */
export async function drain(consumer: Consumer, count: number, timeoutMs = 10_000): Promise<Delivery[]> {
  const all: Delivery[] = [];
  const signal = AbortSignal.timeout(timeoutMs);
  while (all.length < count && !signal.aborted) {
    const taken = await consumer.exchange([], count - all.length, signal);
    await consumer.settle(taken.map((delivery) => ({ kind: 'ack', delivery })));
    all.push(...taken);
  }
  return all;
}

/** Takes until `count` have come. Answers how late each was, in milliseconds. */
export async function arrivals(consumer: Consumer, due: ReadonlyMap<string, number>, timeoutMs = 30_000) {
  const lateMs = new Map<string, number>();
  let [more, unsettled]: [number, Delivery[]] = [0, []];
  const signal = AbortSignal.timeout(timeoutMs);
  while (lateMs.size < due.size && !signal.aborted) {
    try {
      const acks = unsettled.map((delivery) => ({ kind: 'ack' as const, delivery }));
      unsettled = await consumer.exchange(acks, 100, signal);
      for (const uuid of unsettled.map(uuidOf)) {
        if (lateMs.has(uuid)) more += 1;
        lateMs.set(uuid, Date.now() - (due.get(uuid) as number));
      }
    } catch (error) {
      if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE')) throw error;
      await sleep(100);
    }
  }
  await consumer.settle(unsettled.map((delivery) => ({ kind: 'ack', delivery })));
  const sorted = [...lateMs.values()].sort((a, b) => a - b);
  return { count: lateMs.size, more, first: sorted[0], p99: sorted[Math.floor(sorted.length * 0.99)] };
}

export function uuidOf({ body }: Delivery): string {
  return (JSON.parse(body) as { UUID: string }).UUID;
}
