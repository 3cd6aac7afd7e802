// One consumer of one queue. Taking is one script; an idle consumer waits with a blocking command that moves a message
// into the intake list, from where the next script takes it. Nothing that was taken is outside of the server's lists.
//
// States: open -> closed. Invariant: the number of a batch and a place in it name one delivery of this consumer for ever, so
// that settling it twice, late, or after it was lost changes nothing.

import { setTimeout as sleep } from 'node:timers/promises';
import { type Consumer, type Delivery, type Logger, MachineryError, type Settlement, UnderWay } from '@machinery/core';
import { type RedisConnection, redisError, runScript } from '@machinery/redis-client';
import { between, Heart, type Moment, now } from './heart.ts';
import { keysOf, type QueueKeys } from './keys.ts';
import { exchange, inHand, leave, moveRequeued, putBack, register, scan } from './scripts.ts';

export interface RedisConsumerOptions {
  readonly connection: RedisConnection;
  /** For the command that blocks. */
  readonly blocking: RedisConnection;
  readonly queue: string;
  /** Unique among all workers of the queue. */
  readonly worker: string;
  readonly leaseMs: number;
  readonly beatMs: number;
  readonly scanMs: number;
  readonly maxBlockedMs: number;
  readonly maxDeadMessages: number;
  readonly logger: Logger;
  readonly onClose: (consumer: RedisConsumer) => void;
}

/** Messages that were taken together, and are stored in one place. */
class Batch {
  readonly number: number;
  /** Which stay of its worker in the registry it was taken in. */
  readonly stay: number;
  /** How many of them are not settled. */
  left = 0;

  constructor(number: number, stay: number) {
    this.number = number;
    this.stay = stay;
  }
}

class RedisDelivery implements Delivery {
  readonly body: string;
  readonly redelivered: boolean;
  readonly deliveryCount: number;
  readonly batch: Batch;
  /** Its place in the batch, from 1. */
  readonly place: number;
  isSettled = false;

  /** @param lost how often it was lost with its worker; -1: never. */
  constructor(body: string, lost: number, batch: Batch, place: number) {
    this.body = body;
    this.redelivered = lost >= 0;
    this.deliveryCount = Math.max(lost, 0) + 1;
    this.batch = batch;
    this.place = place;
    batch.left += 1;
  }
}

/** How long a blocking command blocks, in seconds: after that the connection is known to live. */
export const blockSeconds = 5;
/** How long ending a blocking command may take, in milliseconds: then it ends by itself. */
const unblockMs = 500;
/** How long after a failed call its script may still run, in milliseconds: a server that was stopped goes on with it. */
const lateMs = 60_000;
/** The most messages that one script takes and settles: what Lua can unpack is bounded, as are a function's arguments. */
const maxTake = 1_000;
const maxSettle = 5_000;

export class RedisConsumer implements Consumer<RedisDelivery> {
  readonly #keys: QueueKeys;
  readonly #options: RedisConsumerOptions;
  /** What is in hand, by number. */
  readonly #batches = new Map<number, Batch>();
  /** Taken by a call whose reply was lost. */
  #found: RedisDelivery[] = [];
  #next = 1;
  /** The numbers of the first batches of calls that are under way. */
  readonly #asking = new Set<number>();
  #exchanging = false;
  readonly #running = new UnderWay();
  /** A reply may have been lost. */
  #isUncertain = false;
  #failedAt = Number.NEGATIVE_INFINITY;
  #blocked: Promise<void> | undefined;
  /** Ends the wait for what the blocking command moves, while somebody waits. */
  #wake: (() => void) | undefined;
  /** There may be something in the intake. */
  #hasIntake = false;
  /** The number of the blocking connection at the server. */
  #blockingId: number | undefined;
  #heart: Heart | undefined;
  #scans: NodeJS.Timeout | undefined;
  /** When the last beat was sent that the server has confirmed. */
  #beatAt: Moment = now();
  /** How often this worker's entry in the registry was lost or had run out: what it had in hand then may have been taken over. */
  #stay = 0;
  readonly #requeues = new Set<NodeJS.Timeout>();
  #closed: Promise<void> | undefined;

  constructor(options: RedisConsumerOptions) {
    this.#options = options;
    this.#keys = keysOf(options.queue);
    options.blocking.client.on('close', () => {
      this.#blockingId = undefined;
    });
  }

  /** Enters the registry: before anything is taken. */
  async start(): Promise<void> {
    const { connection, worker, leaseMs, beatMs, scanMs, maxBlockedMs, logger } = this.#options;
    const { workers } = this.#keys;
    await this.#register();
    if (this.#closed !== undefined) throw closedError();
    const onBeat = (askedAt: Moment, isKnown: boolean) => this.#onBeat(askedAt, isKnown);
    this.#heart = new Heart({ connection, workers, worker, leaseMs, beatMs, maxBlockedMs, logger, onBeat });
    this.#scans = setInterval(() => void this.#scan(), scanMs);
    void this.#scan();
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
      while (taken.length === 0 && !signal.aborted && this.#closed === undefined) {
        await this.#message(signal);
        if (signal.aborted || this.#closed !== undefined) break;
        if (this.#hasIntake || this.#isUncertain || this.#found.length > 0) taken = await this.#run([], want);
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
    const { batch, isSettled } = delivery;
    if (this.#closed !== undefined || isSettled) return false;
    const { leaseMs, worker } = this.#options;
    if (batch.stay === this.#stay && between(this.#beatAt, now()) < leaseMs / 2) return true;
    return this.#call('ask who has a message', (client) =>
      client.hexists(this.#keys.inFlight, `${worker}:${batch.number}`),
    ).then((isThere) => isThere === 1);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #register(): Promise<void> {
    const { worker, leaseMs } = this.#options;
    const askedAt = now();
    await this.#call('register a worker', (client) => runScript(client, register, this.#keys.workers, worker, leaseMs));
    this.#beatAt = askedAt;
  }

  #onBeat(askedAt: Moment, isKnown: boolean): void {
    if (!isKnown || between(this.#beatAt, askedAt) > this.#options.leaseMs) this.#stay += 1;
    if (isKnown) this.#beatAt = askedAt;
    else this.#register().catch(() => {}); // the next exchange does it
  }

  /** Looks for what others, or a lost reply, have left. */
  async #scan(): Promise<void> {
    const { worker, logger, queue, scanMs } = this.#options;
    const { list, intake, inFlight, workers, deliveries, front, sequence, requeued, scanned } = this.#keys;
    const keys = [list, intake, inFlight, workers, deliveries, front, sequence, requeued, scanned];
    try {
      if (performance.now() - this.#failedAt < lateMs) await this.#findLost();
      const gone = await this.#call('look for dead workers', (client) => runScript(client, scan, ...keys, scanMs));
      for (const other of gone as string[])
        if (other !== worker)
          logger.warn(`Worker ${other} of queue ${queue} is gone: its messages are delivered again`);
    } catch (error) {
      logger.debug(`Queue ${queue} could not be scanned`, error); // the exchanges say it
    }
  }

  #run(settled: readonly Settlement<RedisDelivery>[], want: number): Promise<RedisDelivery[]> {
    return this.#running.during(() => this.#settleAndTake(settled, want));
  }

  async #settleAndTake(settled: readonly Settlement<RedisDelivery>[], want: number): Promise<RedisDelivery[]> {
    if (this.#closed !== undefined) throw closedError();
    if (settled.length > maxSettle) await this.#settleAndTake(settled.slice(0, -maxSettle), 0);
    const last = settled.slice(-maxSettle);
    if (this.#isUncertain) await this.#findLost();
    const found = this.#found.splice(0, want);
    const count = Math.min(want - found.length, maxTake);
    const first = this.#next;
    this.#next += count;
    const { leaseMs, maxDeadMessages, worker, queue } = this.#options;
    const { list, intake, inFlight, workers, deliveries, dead, requeued, front, sequence } = this.#keys;
    const keys = [list, intake, inFlight, workers, deliveries, dead, requeued, front, sequence];
    const fromIntake = this.#hasIntake && count > 0;
    const args = [worker, leaseMs, count, first, fromIntake ? 1 : 0, maxDeadMessages, ...encoded(last)];
    if (fromIntake) this.#hasIntake = false;
    const askedAt = now();
    const stay = this.#stay; // what comes may have been taken over before it is read
    if (count > 0) this.#asking.add(first);
    let reply: [isKnown: 0 | 1, sizes: number[], lost: number[], ...bodies: string[]];
    try {
      reply = (await this.#call(`take messages of queue ${queue}`, (client) =>
        runScript(client, exchange, ...keys, ...args),
      )) as typeof reply;
    } catch (error) {
      this.#isUncertain = true;
      this.#hasIntake = true;
      this.#failedAt = performance.now();
      this.#found.unshift(...found);
      throw error;
    } finally {
      this.#asking.delete(first);
    }
    const [isKnown] = reply;
    if (isKnown === 0) {
      this.#stay += 1;
      this.#beatAt = askedAt;
    }
    for (const settlement of last) {
      if (settlement.kind === 'requeue') this.#wakeFor(settlement);
      this.#settled(settlement.delivery);
    }
    return this.#taken(found, first, reply, isKnown === 0 ? this.#stay : stay);
  }

  #settled(delivery: RedisDelivery): void {
    if (delivery.isSettled) return;
    delivery.isSettled = true;
    const { batch } = delivery;
    if (--batch.left === 0) this.#batches.delete(batch.number);
  }

  /** @param found comes first. */
  #taken(
    found: RedisDelivery[],
    first: number,
    [, sizes, lost, ...bodies]: [isKnown: 0 | 1, sizes: number[], lost: number[], ...bodies: string[]],
    stay: number,
  ): RedisDelivery[] {
    const deliveries = found;
    let i = 0;
    for (const [n, size] of sizes.entries()) {
      const batch = this.#newBatch(first + n, stay);
      for (let place = 1; place <= size; place++, i++)
        deliveries.push(new RedisDelivery(bodies[i] as string, lost[i] ?? -1, batch, place));
    }
    return deliveries;
  }

  #newBatch(number: number, stay: number): Batch {
    const batch = new Batch(number, stay);
    this.#batches.set(number, batch);
    return batch;
  }

  /** What was put back with a delay is moved when it is due: by us, or if we are gone, with another worker's scan. */
  #wakeFor(settlement: Settlement<RedisDelivery> & { kind: 'requeue' }): void {
    const delayMs = settlement.position === 'back' ? Math.ceil(settlement.delayMs ?? 0) : 0;
    if (delayMs === 0) return;
    const timer = setTimeout(() => {
      this.#requeues.delete(timer);
      this.#moveRequeued().catch(() => {}); // the next scan does it
    }, delayMs + 1);
    this.#requeues.add(timer);
  }

  async #moveRequeued(): Promise<void> {
    const { list, requeued } = this.#keys;
    await this.#call('move requeued messages', (client) => runScript(client, moveRequeued, list, requeued));
  }

  /** What stands in our name in the in-flight hash and was never handed out came with a reply that was lost. */
  async #findLost(): Promise<void> {
    this.#isUncertain = false; // a call that fails meanwhile says so again
    const before = this.#next;
    const stay = this.#stay;
    const { inFlight, deliveries } = this.#keys;
    let there: (string | (string | number)[])[];
    try {
      there = (await this.#call('look for lost messages', (client) =>
        runScript(client, inHand, inFlight, deliveries, this.#options.worker),
      )) as typeof there;
    } catch (error) {
      this.#isUncertain = true;
      throw error;
    }
    // What another call has asked for meanwhile may come with its reply.
    const answered = Math.min(before, ...this.#asking);
    const lost: RedisDelivery[] = [];
    for (let i = 0; i < there.length; i += 2) {
      const number = Number(there[i]);
      const messages = there[i + 1] as (string | number)[];
      if (number >= answered || this.#batches.has(number)) continue;
      const batch = this.#newBatch(number, stay);
      for (let j = 0; j < messages.length; j += 3)
        lost.push(new RedisDelivery(String(messages[j + 1]), Number(messages[j + 2]), batch, Number(messages[j])));
    }
    this.#found.push(...lost.sort((a, b) => a.batch.number - b.batch.number || a.place - b.place));
    if (this.#found.length > 0) this.#wake?.();
  }

  /** Resolves when there may be a message, or the signal fires. */
  async #message(signal: AbortSignal): Promise<void> {
    this.#blocked ??= this.#block();
    let stop = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
      this.#wake = resolve;
      signal.addEventListener('abort', stop);
    });
    try {
      await Promise.race([this.#blocked, stopped]);
    } catch (error) {
      if (this.#closed === undefined && !signal.aborted) throw error;
    } finally {
      signal.removeEventListener('abort', stop);
      this.#wake = undefined;
    }
    if (signal.aborted) await this.#unblock();
  }

  /** Moves a message to the intake as soon as there is one. What nobody wants by then is put back. */
  async #block(): Promise<void> {
    const { connection, blocking, queue } = this.#options;
    const { list, intake } = this.#keys;
    const { client } = blocking;
    try {
      if (client.status === 'end') await client.connect(); // a Cluster, after `#unblock`
      if (!connection.isCluster) this.#blockingId ??= await client.client('ID');
      const moved = await client.blmove(list, intake, 'LEFT', 'RIGHT', blockSeconds);
      if (moved === null) return;
      this.#hasIntake = true;
      if (this.#wake === undefined) await this.#putBack();
    } catch (error) {
      this.#hasIntake = true; // if the reply was lost
      if (this.#wake === undefined) return; // nobody waits for it
      throw redisError('broker', `wait for messages of queue ${queue}`, error);
    } finally {
      this.#blocked = undefined;
    }
  }

  /** Ends the blocking command, if it has got as far as the server. What it moves nevertheless, the next scan finds. */
  async #unblock(): Promise<void> {
    const { connection, blocking } = this.#options;
    const blocked = this.#blocked;
    if (blocked === undefined || blocking.client.status !== 'ready') return;
    if (connection.isCluster) blocking.client.disconnect();
    else if (this.#blockingId !== undefined)
      await connection.client.client('UNBLOCK', this.#blockingId).catch(() => {});
    await Promise.race([blocked.catch(() => {}), sleep(unblockMs, undefined, { ref: false })]);
  }

  async #putBack(): Promise<void> {
    const { list, intake, front, sequence } = this.#keys;
    await this.#call('put a message back', (client) => runScript(client, putBack, list, intake, front, sequence));
    this.#hasIntake = false;
  }

  async #close(): Promise<void> {
    for (const timer of this.#requeues) clearTimeout(timer);
    clearInterval(this.#scans);
    this.#heart?.stop();
    this.#wake?.();
    await Promise.allSettled([this.#unblock(), this.#running.none()]); // or what is under way registers again
    const { list, intake, inFlight, workers, deliveries, front, sequence } = this.#keys;
    const { worker, connection, blocking, queue, onClose } = this.#options;
    const keys = [list, intake, inFlight, workers, deliveries, front, sequence];
    try {
      await runScript(connection.client, leave, ...keys, worker);
    } catch (error) {
      throw redisError('broker', `give back messages of queue ${queue}`, error);
    } finally {
      onClose(this);
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

function closedError(): MachineryError {
  return new MachineryError('ERR_MACHINERY_CLOSED', 'The consumer is closed');
}

/** How many batches are done to their last message, and their numbers; then kind, batch, place and detail of the others. */
function encoded(settled: readonly Settlement<RedisDelivery>[]): (string | number)[] {
  const seen = new Set<RedisDelivery>(); // what is settled twice would make a batch look done
  const acked = new Map<Batch, RedisDelivery[]>();
  const others: (string | number)[] = [];
  for (const settlement of settled) {
    const { delivery } = settlement;
    const { batch, place, isSettled } = delivery;
    if (isSettled || seen.has(delivery)) continue;
    seen.add(delivery);
    if (settlement.kind === 'ack') {
      const those = acked.get(batch);
      if (those === undefined) acked.set(batch, [delivery]);
      else those.push(delivery);
    } else if (settlement.kind === 'dead') others.push('dead', batch.number, place, settlement.reason);
    else if (settlement.position === 'front')
      others.push('front', batch.number, place, settlement.begun === true ? 'begun' : '');
    else others.push('back', batch.number, place, Math.ceil(settlement.delayMs ?? 0));
  }
  const done: number[] = [];
  for (const [batch, those] of acked) {
    if (those.length === batch.left) done.push(batch.number);
    else for (const { place } of those) others.push('ack', batch.number, place, '');
  }
  return [done.length, ...done, ...others];
}
