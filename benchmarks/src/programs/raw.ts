// The limit of one Node process on ioredis: RPUSH, LPOP and SET for each task, and nothing else. All three happen in the
// drain; to send is only to count.

import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { type Add, lanes, type System, serve } from './serve.ts';
import { versions } from './versions.ts';

interface Task {
  readonly id: string;
  readonly a: number;
}

class Raw implements System<Task> {
  readonly versions = versions('ioredis');
  readonly #redis: Redis;
  #tasks: Task[] = [];

  constructor({ redis }: { readonly redis: string }) {
    this.#redis = new Redis(redis, { enableAutoPipelining: true });
  }

  async send(a: number): Promise<Task> {
    const task = { id: randomUUID(), a };
    this.#tasks.push(task);
    return task;
  }

  async stored(tasks: readonly Task[]) {
    const values = await this.#redis.mget(tasks.map(({ id }) => id));
    return values.map((value) => (value === null ? undefined : Number(JSON.parse(value).result)));
  }

  async startWorker(concurrency: number, add: Add) {
    const tasks = this.#tasks.splice(0);
    const all = lanes(concurrency, tasks.length, async (i) => {
      await this.#redis.rpush('queue', JSON.stringify({ ...tasks[i], b: 1 }));
      const { id, a, b } = JSON.parse((await this.#redis.lpop('queue')) as string);
      await this.#redis.set(id, JSON.stringify({ id, result: await add(a, b) }));
    });
    return { settled: () => all.then(() => true), stop: async () => {} };
  }
}

await serve((config: { readonly redis: string }) => new Raw(config));
