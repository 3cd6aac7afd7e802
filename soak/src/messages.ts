// The servers that keep the messages of a soak: how they fail while it runs, and what is left in them when it is over.

import { setTimeout as sleep } from 'node:timers/promises';
import { type StartedRabbit, type StartedRedis, startRabbit } from '@machinery/services';
import { connect } from 'amqplib';
import type { Redis } from 'ioredis';
import type { BrokerConfig } from './brokers.ts';
import { leftMessages } from './verify.ts';

/** Something that happens when this part of the tasks is done. */
interface Failure {
  readonly at: number;
  /** What is printed when it is over. */
  readonly text: string;
  happen(): Promise<void>;
}

export interface MessageServer {
  readonly broker: BrokerConfig;
  readonly failures: readonly Failure[];
  /** Takes a message away by hand, when there is one. */
  drop(): Promise<void>;
  /** Where messages are left. */
  left(): Promise<string[]>;
  stop(): Promise<void>;
}

/** Redis, which has the states as well. */
export function messagesInRedis(
  redis: StartedRedis,
  client: Redis,
  { queue, ...lease }: { readonly queue: string; readonly leaseMs: number; readonly beatMs: number },
): MessageServer {
  const happen = async () => {
    await redis.kill();
    await redis.start();
  };
  return {
    broker: { redis: { url: redis.url, delayedTasksKey: `${queue}-delayed`, ...lease } },
    failures: [{ at: 0.5, text: 'Redis was killed and started again', happen }],
    drop: async () => void (await client.blpop(queue, 0)),
    left: () => leftMessages(client, queue),
    stop: async () => {},
  };
}

/** A RabbitMQ of its own. undefined where there is none. */
export async function messagesInRabbit(queue: string): Promise<MessageServer | undefined> {
  // A delay that a crash interrupted goes on after three minutes, if nothing else is said.
  const rabbit = await startRabbit({ advanced: ['{dead_letter_worker_publisher_confirm_timeout, 5000}'] });
  if (rabbit === undefined) return undefined;
  const close = async () => void (await rabbit.ctl('close_all_connections', 'soak'));
  const kill = async () => {
    await rabbit.kill();
    await rabbit.start();
  };
  const text = 'All connections to RabbitMQ were closed';
  return {
    broker: { amqp: { url: rabbit.url, bindingKey: queue } },
    failures: [
      ...[0.1, 0.3, 0.7, 0.9].map((at) => ({ at, text, happen: close })),
      { at: 0.5, text: 'RabbitMQ was killed and started again', happen: kill },
    ],
    drop: () => dropFrom(rabbit, queue),
    left: async () => {
      const lines = (await rabbit.ctl('list_queues', 'name', 'messages', '--no-table-headers')).trim().split('\n');
      const counts = lines.map((line) => line.split('\t') as [name: string, count: string]);
      return counts.filter(([, count]) => Number(count) > 0).map(([name, count]) => `${name} holds ${count} messages`);
    },
    stop: () => rabbit.stop(),
  };
}

async function dropFrom({ url }: StartedRabbit, queue: string): Promise<void> {
  const model = await connect(url);
  const channel = await model.createChannel();
  while (!(await channel.get(queue, { noAck: true }))) await sleep(10);
  await model.close();
}
