// The soak: sends a load to worker processes that are killed at random moments, and finds out what became of every task.

import { setTimeout as sleep } from 'node:timers/promises';
import { RedisBackend } from '@machinery/backend-redis';
import { seededRandom } from '@machinery/conformance';
import { errorText, MachineryError, Server, silentLogger } from '@machinery/core';
import { startRedis } from '@machinery/services';
import { Redis } from 'ioredis';
import { newBroker } from './brokers.ts';
import { Fleet } from './fleet.ts';
import { type Awaited, type Piece, pieces } from './load.ts';
import { type MessageServer, messagesInRabbit, messagesInRedis } from './messages.ts';
import { countRuns, type ExpectedTask, wrongStates } from './verify.ts';

export interface SoakOptions {
  /** What has the messages; the states are in Redis. */
  readonly broker: 'redis' | 'amqp';
  readonly seed: number;
  readonly tasks: number;
  /** How often a worker process is killed with SIGKILL. */
  readonly kills: number;
  readonly workers: number;
  /** For how long one worker stands still, in milliseconds; 0: none does. */
  readonly pauseMs: number;
  /** Whether the server of the messages fails, too: it is killed and started again; RabbitMQ's connections are closed as well. */
  readonly killServer: boolean;
  /** How many messages are taken away by hand, to see that this is found. */
  readonly drop: number;
  readonly leaseMs: number;
  readonly beatMs: number;
  /** How long a result may be waited for, in milliseconds. */
  readonly patienceMs: number;
  readonly log: (line: string) => void;
}

const queue = 'soak';
/** The set in which workers note what they run. */
const runs = 'runs';
/** How many pieces are on their way at once. */
const lanes = 300;
const concurrency = 20;
const progressMs = 5_000;

/** What a sender may be told while a server is away: it does not count as accepted. */
const refusals = new Set([
  'ERR_MACHINERY_PUBLISH_UNKNOWN',
  'ERR_MACHINERY_BROKER_UNAVAILABLE',
  'ERR_MACHINERY_BACKEND_UNAVAILABLE',
  'ERR_MACHINERY_GROUP_NOT_SENT',
]);

/** Answers what is wrong: nothing, when all went well. */
export async function soak(options: SoakOptions): Promise<string[]> {
  const { broker, tasks, kills, workers, seed, pauseMs, killServer, leaseMs, beatMs, log } = options;
  const [title, lease] = broker === 'redis' ? ['Redis', `, leaseMs ${leaseMs}, beatMs ${beatMs}`] : ['RabbitMQ', ''];
  log(`seed ${seed}: ${tasks} tasks on ${title}, ${workers} workers with ${concurrency} slots${lease}`);
  const stopped = pauseMs === 0 ? 'no worker stopped' : `one worker stopped for ${pauseMs} ms`;
  log(`${kills} kills, ${stopped}, ${title} killed ${killServer ? 'once' : 'never'}`);
  const redis = await startRedis({ settings: ['--appendonly', 'yes', '--appendfsync', 'always'] });
  if (redis === undefined) return ['There is no Redis'];
  const client = new Redis(redis.url, { maxRetriesPerRequest: null });
  client.on('error', () => {}); // it connects again
  const messages =
    broker === 'redis' ? messagesInRedis(redis, client, { queue, leaseMs, beatMs }) : await messagesInRabbit(queue);
  if (messages === undefined) return ['There is no RabbitMQ'];
  const run = new Soak(options, redis.url, client, messages);
  try {
    return await run.carryOut();
  } finally {
    await run.cleanUp();
    client.disconnect();
    await messages.stop();
    await redis.stop();
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #client: Redis;
  readonly #messages: MessageServer;
  readonly #server: Server;
  readonly #fleet: Fleet;
  readonly #problems: string[] = [];
  readonly #accepted: ExpectedTask[] = [];
  readonly #waiting: { readonly count: number; readonly reached: () => void }[] = [];
  readonly #started = performance.now();
  #done = 0;
  #kills = 0;
  #refused = 0;

  constructor(options: SoakOptions, url: string, client: Redis, messages: MessageServer) {
    const { broker } = messages;
    this.#options = options;
    this.#client = client;
    this.#messages = messages;
    this.#server = new Server({
      broker: newBroker(broker),
      backend: new RedisBackend({ url }),
      defaultQueue: queue,
      resultsExpireInSeconds: 24 * 3_600,
      logger: silentLogger,
    });
    this.#fleet = new Fleet({ url, queue, runs, concurrency, broker });
  }

  async carryOut(): Promise<string[]> {
    const { drop, log } = this.#options;
    const sending = this.#send();
    for (let i = 0; i < drop; i++) await this.#messages.drop();
    await this.#startWorkers();
    const timer = setInterval(() => this.#logProgress(), progressMs);
    try {
      await Promise.all([sending, this.#killWorkers(), this.#pauseWorker(), this.#failServer()]);
    } finally {
      clearInterval(timer);
    }
    this.#logProgress();
    await this.#verify();
    for (const problem of this.#problems.slice(0, 50)) log(`WRONG ${problem}`);
    log(this.#problems.length === 0 ? 'Nothing is lost' : `${this.#problems.length} problems`);
    return this.#problems;
  }

  async cleanUp(): Promise<void> {
    await this.#fleet.killAll();
    await this.#server.close();
  }

  async #send(): Promise<void> {
    const { seed, tasks } = this.#options;
    const load = pieces(seed, tasks);
    const lane = async () => {
      for (const piece of load) await this.#sendAndAwait(piece);
    };
    await Promise.all(Array.from({ length: lanes }, lane));
  }

  async #sendAndAwait(piece: Piece): Promise<void> {
    const { values, failures } = piece;
    try {
      const result = await this.#accept(piece);
      if (result.uuids.length !== values.length) throw new Error(`It has ${result.uuids.length} tasks`);
      result.uuids.forEach((uuid, i) => {
        this.#accepted.push({ uuid, value: values[i] as string, runs: failures + 1 });
      });
      const value = await result.get({ timeoutMs: this.#options.patienceMs });
      if (value !== values.at(-1)) throw new Error(`It gave ${String(value)}`);
    } catch (error) {
      this.#problems.push(`${values.at(-1)}: ${errorText(error)}`);
    }
    this.#done += values.length;
    while (this.#waiting.length > 0 && this.#done >= (this.#waiting[0]?.count ?? 0)) this.#waiting.shift()?.reached();
  }

  /** Sends it, as something new each time, until it is known to be stored. */
  async #accept(piece: Piece): Promise<Awaited> {
    for (;;) {
      try {
        return await piece.send(this.#server);
      } catch (error) {
        if (!MachineryError.is(error) || !refusals.has(error.code)) throw error;
        this.#refused++;
        await sleep(100);
      }
    }
  }

  async #killWorkers(): Promise<void> {
    const { seed, tasks, kills } = this.#options;
    const random = seededRandom(seed + 1);
    const moments = Array.from({ length: kills }, () => (0.02 + 0.95 * random()) * tasks).sort((a, b) => a - b);
    for (const moment of moments) {
      await this.#reached(moment);
      await sleep(random() * 50);
      await this.#fleet.kill(random);
      this.#kills++;
    }
  }

  async #pauseWorker(): Promise<void> {
    const { tasks, pauseMs, log } = this.#options;
    if (pauseMs === 0) return;
    await this.#reached(tasks * 0.05);
    log(`A worker is stopped for ${pauseMs} ms`);
    await this.#fleet.pauseOne(pauseMs);
    log('It goes on');
  }

  async #failServer(): Promise<void> {
    const { tasks, killServer, log } = this.#options;
    if (!killServer) return;
    const inOrder = [...this.#messages.failures].sort((a, b) => a.at - b.at);
    for (const { at, text, happen } of inOrder) {
      await this.#reached(at * tasks);
      await happen();
      log(text);
    }
  }

  /** Resolves when so many tasks are done. */
  #reached(count: number): Promise<void> {
    return new Promise((reached) => {
      if (this.#done >= count) return reached();
      this.#waiting.push({ count, reached });
      this.#waiting.sort((a, b) => a.count - b.count);
    });
  }

  async #verify(): Promise<void> {
    const { log } = this.#options;
    await this.#drain();
    this.#problems.push(...this.#fleet.crashes, ...(await this.#messages.left()));
    this.#problems.push(...(await wrongStates(this.#server.backend, this.#accepted)));
    const { total, again, missing } = await countRuns(this.#client, runs, this.#accepted);
    this.#problems.push(...missing);
    log(
      `${this.#accepted.length} tasks were accepted and looked at; ${this.#refused} sends were refused or unknown, and done anew`,
    );
    log(`${total} runs, ${again} of them more than once`);
  }

  /** Stops the workers when nothing is left. One that ends may still publish what follows its last tasks. */
  async #drain(): Promise<void> {
    const isEmpty = async () => (await this.#messages.left()).length === 0;
    const until = performance.now() + 20 * this.#options.leaseMs;
    for (;;) {
      while (!(await isEmpty()) && performance.now() < until) await sleep(100);
      this.#problems.push(...(await this.#fleet.stop()));
      if ((await isEmpty()) || performance.now() >= until) return;
      await this.#startWorkers();
    }
  }

  async #startWorkers(): Promise<void> {
    await Promise.all(Array.from({ length: this.#options.workers }, () => this.#fleet.start()));
  }

  #logProgress(): void {
    const seconds = (performance.now() - this.#started) / 1_000;
    const rate = Math.round(this.#done / seconds);
    this.#options.log(
      `${seconds.toFixed(1)} s: ${this.#done} tasks done, ${this.#kills} workers killed, ${rate} tasks/s, ${this.#problems.length} problems`,
    );
  }
}
