// One consumer of one queue. Taking is one script; an idle consumer waits with a blocking command that moves a message
// into its intake list, from where the next script takes it. Nothing that was taken is outside of the server's lists.
//
// States: open -> closed. Invariant: a number names one delivery of this consumer for ever, so that settling it twice,
// late, or after it was lost changes nothing.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, type Delivery, type Logger, MachineryError, type Settlement } from '@machinery/core';
import { type RedisConnection, redisError, runScript } from '@machinery/redis-client';
import { keysOf, type QueueKeys } from './keys.ts';
import { exchange, leave, moveRequeued, putBack, takeOver } from './scripts.ts';

export interface RedisConsumerOptions {
  readonly connection: RedisConnection;
  /** For the command that blocks. */
  readonly blocking: RedisConnection;
  readonly queue: string;
  /** Unique among all workers of the queue. */
  readonly worker: string;
  readonly leaseMs: number;
  readonly maxDeadMessages: number;
  readonly logger: Logger;
  readonly onClose: (consumer: RedisConsumer) => void;
}

class RedisDelivery implements Delivery {
  readonly number: number;
  readonly body: string;
  readonly redelivered: boolean;
  readonly deliveryCount: number;

  /** @param lost how often it was lost with its worker; -1: never. */
  constructor(number: number, body: string, lost: number) {
    this.number = number;
    this.body = body;
    this.redelivered = lost >= 0;
    this.deliveryCount = Math.max(lost, 0) + 1;
  }
}

/** How long a blocking command blocks, in seconds: after that the connection is known to live. */
const blockSeconds = 5;
/** How long ending a blocking command may take, in milliseconds: then it ends by itself. */
const unblockMs = 500;
/** How long after a failed call its script may still run, in milliseconds: a server that was stopped goes on with it. */
const lateMs = 60_000;
/** The most messages that one script takes: what Lua can unpack is bounded. */
const maxTake = 1_000;

export class RedisConsumer implements Consumer<RedisDelivery> {
  readonly keys: QueueKeys;
  readonly #options: RedisConsumerOptions;
  readonly #inFlight: string;
  readonly #intake: string;
  readonly #held = new Set<RedisDelivery>();
  /** Taken by a call whose reply was lost. */
  #found: RedisDelivery[] = [];
  #next = 1;
  /** The first numbers of calls that are under way. */
  readonly #asking = new Set<number>();
  #exchanging = false;
  /** A reply may have been lost. */
  #uncertain = false;
  #failedAt = Number.NEGATIVE_INFINITY;
  #blocked: Promise<void> | undefined;
  /** Whether somebody waits for what the blocking command moves. */
  #waiting = false;
  /** The number of the blocking connection at the server. */
  #blockingId: number | undefined;
  #leaseUntil = 0;
  readonly #wakes = new Set<NodeJS.Timeout>();
  #closed: Promise<void> | undefined;

  constructor(options: RedisConsumerOptions) {
    this.#options = options;
    this.keys = keysOf(options.queue);
    this.#inFlight = this.keys.inFlight + options.worker;
    this.#intake = this.keys.intake + options.worker;
    options.blocking.client.on('close', () => {
      this.#blockingId = undefined;
    });
  }

  async exchange(
    settled: readonly Settlement<RedisDelivery>[],
    want: number,
    signal: AbortSignal,
  ): Promise<RedisDelivery[]> {
    if (this.#exchanging)
      throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', 'Expected one exchange at a time, got a second one');
    this.#exchanging = true;
    try {
      let taken = await this.#run(settled, signal.aborted ? 0 : want);
      while (taken.length === 0 && !signal.aborted) {
        await this.#message(signal);
        if (signal.aborted || this.#closed !== undefined) break;
        taken = await this.#run([], want);
      }
      return taken;
    } finally {
      this.#exchanging = false;
    }
  }

  async settle(settled: readonly Settlement<RedisDelivery>[]): Promise<void> {
    await this.#run(settled, 0);
  }

  /** While the last beat that was confirmed is young, nobody can have taken anything over. */
  owns(delivery: RedisDelivery): boolean | Promise<boolean> {
    if (this.#closed !== undefined || !this.#held.has(delivery)) return false;
    if (performance.now() < this.#leaseUntil - this.#options.leaseMs / 2) return true;
    return this.#call('ask who has a message', (client) =>
      client.hexists(this.#inFlight, String(delivery.number)),
    ).then((there) => there === 1);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Keeps the lease, and takes over from those whose lease has run out. */
  async beat(): Promise<void> {
    const { worker, logger, queue } = this.#options;
    if (this.#closed !== undefined) return;
    if (performance.now() - this.#failedAt < lateMs) this.#uncertain = true;
    await this.#run([], 0);
    const { list, workers, deliveries, front, sequence, inFlight, intake } = this.keys;
    const dead = await this.#call('look for dead workers', (client) =>
      runScript(client, takeOver, list, deliveries, front, sequence, workers, inFlight, intake),
    );
    await this.#moveRequeued();
    for (const other of dead as string[])
      if (other !== worker) logger.warn(`Worker ${other} of queue ${queue} is gone: its messages are delivered again`);
  }

  async #run(settled: readonly Settlement<RedisDelivery>[], want: number): Promise<RedisDelivery[]> {
    if (this.#closed !== undefined) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The consumer is closed');
    if (this.#uncertain) {
      this.#uncertain = false; // a call that fails meanwhile says so again
      await this.#findLost().catch((error) => {
        this.#uncertain = true;
        throw error;
      });
    }
    const found = this.#found.splice(0, want);
    for (const delivery of found) this.#held.add(delivery);
    const count = Math.min(want - found.length, maxTake);
    const first = this.#next;
    this.#next += count;
    const { leaseMs, maxDeadMessages, worker } = this.#options;
    const { list, workers, deliveries, dead, requeued, front, sequence } = this.keys;
    const keys = [list, this.#inFlight, this.#intake, workers, deliveries, dead, requeued, front, sequence];
    const args = [worker, leaseMs, count, first, maxDeadMessages, ...settled.flatMap(encoded)];
    const asked = performance.now();
    this.#asking.add(first);
    let reply: (string | number)[];
    try {
      reply = (await this.#call(`take messages of queue ${this.#options.queue}`, (client) =>
        runScript(client, exchange, ...keys, ...args),
      )) as (string | number)[];
    } catch (error) {
      this.#uncertain = true;
      this.#failedAt = performance.now();
      for (const delivery of found) this.#held.delete(delivery);
      this.#found.unshift(...found);
      throw error;
    } finally {
      this.#asking.delete(first);
    }
    this.#leaseUntil = asked + leaseMs;
    for (const settlement of settled) if (settlement.kind === 'requeue') this.#wakeFor(settlement);
    for (const { delivery } of settled) this.#held.delete(delivery);
    const taken = [...found];
    for (let i = 0; i < reply.length; i += 3)
      taken.push(new RedisDelivery(Number(reply[i]), String(reply[i + 1]), Number(reply[i + 2])));
    for (const delivery of taken) this.#held.add(delivery);
    return taken;
  }

  /** What was put back with a delay is moved when it is due: by us, or if we are gone, with another worker's beat. */
  #wakeFor(settlement: Settlement<RedisDelivery> & { kind: 'requeue' }): void {
    const delayMs = settlement.position === 'back' ? Math.ceil(settlement.delayMs ?? 0) : 0;
    if (delayMs === 0) return;
    const timer = setTimeout(() => {
      this.#wakes.delete(timer);
      this.#moveRequeued().catch(() => {}); // the next beat does it
    }, delayMs + 1);
    this.#wakes.add(timer);
  }

  async #moveRequeued(): Promise<void> {
    const { list, requeued } = this.keys;
    await this.#call('move requeued messages', (client) => runScript(client, moveRequeued, list, requeued));
  }

  /** What stands in our in-flight hash and was never handed out came with a reply that was lost. */
  async #findLost(): Promise<void> {
    const before = this.#next;
    const entries = await this.#call('look for lost messages', (client) => client.hgetall(this.#inFlight));
    const lost: [number: number, body: string, times: number][] = [];
    for (const [number, value] of Object.entries(entries)) {
      const body = value.slice(value.indexOf(' ') + 1);
      const sha = createHash('sha1').update(body).digest('hex');
      const times = await this.#call('look for lost messages', (client) => client.hget(this.keys.deliveries, sha));
      lost.push([Number(number), body, times === null ? -1 : Number(times)]);
    }
    // What another call has asked for meanwhile may come with its reply.
    const known = new Set([...this.#held, ...this.#found].map(({ number }) => number));
    const answered = Math.min(before, ...this.#asking);
    for (const [number, body, times] of lost.sort(([a], [b]) => a - b))
      if (number < answered && !known.has(number)) this.#found.push(new RedisDelivery(number, body, times));
  }

  /** Resolves when there may be a message, or the signal fires. */
  async #message(signal: AbortSignal): Promise<void> {
    this.#waiting = true;
    this.#blocked ??= this.#block();
    let stop = () => {};
    const aborted = new Promise<void>((resolve) => {
      stop = resolve;
      signal.addEventListener('abort', stop);
    });
    try {
      await Promise.race([this.#blocked, aborted]);
    } catch (error) {
      if (this.#closed === undefined && !signal.aborted) throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#waiting = false;
    }
    if (signal.aborted) await this.#unblock();
  }

  /** Moves a message to the intake as soon as there is one. What nobody wants by then is put back. */
  async #block(): Promise<void> {
    const { client } = this.#options.blocking;
    try {
      this.#blockingId ??= await client.client('ID');
      const moved = await client.blmove(this.keys.list, this.#intake, 'LEFT', 'RIGHT', blockSeconds);
      if (moved !== null && !this.#waiting) await this.#putBack();
    } catch (error) {
      if (!this.#waiting) return; // nobody waits for it
      throw redisError('broker', `wait for messages of queue ${this.#options.queue}`, error);
    } finally {
      this.#blocked = undefined;
    }
  }

  /** Ends the blocking command, if it has got as far as the server. */
  async #unblock(): Promise<void> {
    const blocked = this.#blocked;
    const id = this.#blockingId;
    if (blocked === undefined || id === undefined || this.#options.blocking.client.status !== 'ready') return;
    const { client } = this.#options.connection;
    await client.client('UNBLOCK', id).catch(() => {});
    await Promise.race([blocked.catch(() => {}), sleep(unblockMs, undefined, { ref: false })]);
  }

  async #putBack(): Promise<void> {
    const { list, front, sequence } = this.keys;
    await this.#call('put a message back', (client) => runScript(client, putBack, list, this.#intake, front, sequence));
  }

  async #close(): Promise<void> {
    for (const timer of this.#wakes) clearTimeout(timer);
    await this.#unblock();
    const { list, workers, deliveries, front, sequence } = this.keys;
    const { worker, connection, blocking } = this.#options;
    const keys = [list, this.#inFlight, this.#intake, deliveries, front, sequence, workers];
    try {
      await runScript(connection.client, leave, ...keys, worker);
    } catch (error) {
      throw redisError('broker', `give back messages of queue ${this.#options.queue}`, error);
    } finally {
      this.#options.onClose(this);
      await blocking.close();
    }
  }

  async #call<T>(doing: string, call: (client: RedisConnection['client']) => Promise<T>): Promise<T> {
    try {
      return await call(this.#options.connection.client);
    } catch (error) {
      throw redisError('broker', doing, error);
    }
  }
}

function encoded(settlement: Settlement<RedisDelivery>): [kind: string, number: number, detail: string | number] {
  const { number } = settlement.delivery;
  if (settlement.kind === 'ack') return ['ack', number, ''];
  if (settlement.kind === 'dead') return ['dead', number, settlement.reason];
  if (settlement.position === 'front') return ['front', number, settlement.begun === true ? 'begun' : ''];
  return ['back', number, Math.ceil(settlement.delayMs ?? 0)];
}
