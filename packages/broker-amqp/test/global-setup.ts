// One RabbitMQ for all files that need no server of their own: starting one takes longer than most of them.

import process from 'node:process';
import { startRabbit } from '@machinery/services';

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (process.env.AMQP_URL) return undefined;
  const rabbit = await startRabbit();
  if (rabbit === undefined) return undefined;
  process.env.AMQP_URL = rabbit.url; // which `rabbitServer` answers from now on
  process.env.AMQP_CONTROL = rabbit.control;
  return () => rabbit.stop();
}
