// BullMQ with its default settings, which keep completed jobs and their results.

import { FlowProducer, type Job, Queue, QueueEvents, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { type Add, type System, serve } from './serve.ts';
import { versions } from './versions.ts';

const name = 'tasks';

class BullMQ implements System<Job> {
  readonly versions = versions('bullmq', 'ioredis');
  readonly #connection: { readonly url: string };
  readonly #queue: Queue;
  readonly #redis: Redis;
  #events: Promise<QueueEvents> | undefined;
  #flows: FlowProducer | undefined;

  constructor({ redis: url }: { readonly redis: string }) {
    this.#connection = { url };
    this.#queue = new Queue(name, { connection: this.#connection });
    this.#redis = new Redis(url, { enableAutoPipelining: true });
  }

  send(a: number, at?: Date) {
    return this.#queue.add('add', { a, b: 1 }, at && { delay: at.getTime() - Date.now() });
  }

  sendBulk(a: number, count: number) {
    return this.#queue.addBulk(Array.from({ length: count }, (_, i) => ({ name: 'add', data: { a: a + i, b: 1 } })));
  }

  async result(job: Job): Promise<number> {
    return job.waitUntilFinished(await this.#finished());
  }

  async stored(jobs: readonly Job[]) {
    const values = await Promise.all(
      jobs.map((job) => this.#redis.hget(this.#queue.toKey(`${job.id}`), 'returnvalue')),
    );
    return values.map((value) => (value === null ? undefined : Number(value)));
  }

  async chord(size: number): Promise<number> {
    this.#flows ??= new FlowProducer({ connection: this.#connection });
    const events = await this.#finished();
    const children = Array.from({ length: size }, (_, i) => ({ name: 'add', queueName: name, data: { a: i, b: 1 } }));
    const { job } = await this.#flows.add({ name: 'total', queueName: name, data: {}, children });
    return job.waitUntilFinished(events);
  }

  async startWorker(concurrency: number, add: Add) {
    const run = (job: Job) => (job.name === 'add' ? add(job.data.a, job.data.b) : total(job));
    const worker = new Worker(name, async (job) => run(job), { connection: this.#connection, concurrency });
    await worker.waitUntilReady();
    const settled = async () => (await this.#redis.llen(this.#queue.toKey('active'))) === 0;
    return { settled, stop: () => worker.close() };
  }

  #finished(): Promise<QueueEvents> {
    // From the first event on: by default, those before its first read are missed.
    this.#events ??= (async () => {
      const events = new QueueEvents(name, { connection: this.#connection, lastEventId: '0-0' });
      await events.waitUntilReady();
      return events;
    })();
    return this.#events;
  }
}

async function total(job: Job): Promise<number> {
  const values: number[] = Object.values(await job.getChildrenValues());
  return values.reduce((a, b) => a + b, 0);
}

await serve((config: { readonly redis: string }) => new BullMQ(config));
