// Periodic entries: what is sent at the times of a cron spec. Any number of processes may have the same entries: whoever
// gets the lock, which is held until the next tick, sends. `cron.ts` says when; the server sends as it sends anything.
//
// Invariant: a tick is sent at most once. While it cannot have been, it is tried until the entry's next tick is due.

import { reconnectDelayMs, sharedAbortController, sleep } from './backoff.ts';
import type { Alarm, Clock } from './clock.ts';
import { parseCron, type Schedule } from './cron.ts';
import { errorText, type GroupSendError, MachineryError, mayPass } from './errors.ts';
import type { Lock } from './lock.ts';
import type { Logger } from './logger.ts';
import { checkOptions, integer, invalidOption, object, optional, show, string } from './options.ts';
import { withFreshUuids } from './plan.ts';
import type { Signature } from './signature.ts';
import { isTask } from './task.ts';
import { type AnyWorkflow, isWorkflow } from './workflow.ts';
import type { WorkflowOptions } from './workflow-sender.ts';

/** What a periodic entry sends: a signature or a workflow, or a function that makes it at each tick. */
export type Periodic<T> = T | (() => T | Promise<T>);

/** Options of a periodic group or chord. */
export type PeriodicOptions = Pick<WorkflowOptions, 'sendConcurrency'>;

/** Something that is sent periodically. States: waiting <-> paused; both -> removed, for good. */
export interface PeriodicEntry {
  readonly name: string;
  readonly spec: string;
  /** When it is due next; undefined when it is paused, removed, or due never again. */
  readonly next: Date | undefined;
  readonly paused: boolean;
  /** Leaves out the ticks until `resume`, in this process: others that have the entry go on. */
  pause(): void;
  /** Waits for the next tick from now on. */
  resume(): void;
  /** Ends the entry, in this process; its name is free again. Safe to call twice. */
  remove(): void;
}

interface SchedulerOptions {
  readonly clock: Clock;
  readonly lock: Lock | undefined;
  readonly logger: Logger;
  readonly programName: string;
  readonly send: (what: Signature | AnyWorkflow, options?: PeriodicOptions) => Promise<unknown>;
}

/** How long a tick that has no next one holds its lock, in milliseconds. */
const lastTickMs = 86_400_000;

/** The periodic entries of a server. */
export class PeriodicScheduler {
  readonly #options: SchedulerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #firing = new Set<Promise<void>>();
  readonly #closed = sharedAbortController();

  /** @internal Made by the server. */
  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** All entries, in the order in which they were registered. */
  entries(): PeriodicEntry[] {
    return [...this.#entries.values()];
  }

  /** Resolves when the ticks that were due are sent, or have failed. */
  async settled(): Promise<void> {
    while (this.#firing.size > 0) await Promise.all(this.#firing);
  }

  /** @internal Behind the methods of the server. */
  register(
    kind: 'task' | AnyWorkflow['kind'],
    spec: string,
    name: string,
    what: Periodic<Signature | AnyWorkflow>,
    options: PeriodicOptions = {},
  ): PeriodicEntry {
    if (this.#closed.signal.aborted) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The server is closed');
    if (string(name) !== undefined)
      throw invalidOption(`Expected the name of a periodic entry to be ${string(name)}, got ${show(name)}`);
    if (typeof spec !== 'string')
      throw invalidOption(`Periodic entry ${name}: expected a cron spec such as \`0 6 * * *\`, got ${show(spec)}`);
    checkOptions(`Options of periodic entry ${name}`, options, { sendConcurrency: optional(integer({ min: 1 })) });
    const { lock, clock, logger, send } = this.#options;
    if (lock === undefined) throw noLock(name);
    if (this.#entries.has(name))
      throw invalidOption(`There is a periodic entry ${name} already: remove it first, or choose another name`);
    // What can never be sent is refused now; of a function, nobody knows.
    if (typeof what !== 'function') checked(kind, name, what);
    else if (isTask(what)) checked(kind, name, (what as () => Signature)());
    const make = async () => checked(kind, name, typeof what === 'function' ? await made(name, what) : what);
    const entry = new Entry({
      name,
      spec,
      schedule: scheduleOf(spec, name),
      clock,
      fire: (tick) => {
        const fired = this.#fire(entry, lock, tick, async () => {
          const due = await make();
          await this.#untilNext(entry, tick, () => send(due, options));
        }).finally(() => this.#firing.delete(fired));
        this.#firing.add(fired);
      },
      onRemoved: () => this.#entries.delete(name),
    });
    if (entry.next === undefined)
      logger.warn(`Periodic entry ${name} is never due: \`${spec}\` fits no time of the next years`);
    this.#entries.set(name, entry);
    return entry;
  }

  /** Ends all entries; resolves when what is being sent is sent. */
  async close(): Promise<void> {
    for (const entry of this.#entries.values()) entry.remove();
    this.#closed.abort();
    await this.settled();
  }

  /** Sends if the lock is to be had. Never rejects. */
  async #fire(entry: Entry, lock: Lock, tick: Tick, send: () => Promise<void>): Promise<void> {
    const { logger, programName } = this.#options;
    const what = describe(entry, tick);
    // Go: utils.GetLockName, and schedule.Next(time.Now()).UnixNano()-1.
    const key = `machinery_lock_${programName}${entry.name}${entry.spec}`;
    const heldUntilNs = BigInt(tick.nextMs ?? tick.dueAtMs + lastTickMs) * 1_000_000n - 1n;
    try {
      let asked = 0;
      const isOurs = await this.#untilNext(entry, tick, () => {
        asked++;
        return lock.acquire(key, heldUntilNs);
      });
      if (isOurs) await send();
      if (isOurs) logger.debug(`${what}: sent`);
      else if (asked === 1) logger.debug(`${what}: another scheduler sends it`);
      else logger.warn(`${what}, is not sent here: another scheduler has the lock, or an answer of the lock was lost`);
    } catch (error) {
      logger.error(`${what}, failed: ${errorText(error)}`, error);
    }
  }

  /** Calls until it works; what may pass is tried again for as long as the next tick is not due. */
  async #untilNext<T>(entry: Entry, tick: Tick, attempt: () => Promise<T>): Promise<T> {
    const { clock, logger } = this.#options;
    const { signal } = this.#closed;
    const { nextMs = Number.POSITIVE_INFINITY } = tick;
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        if (!isUnsent(error)) throw error;
        const delayMs = reconnectDelayMs(failures);
        if (clock.now() + delayMs >= nextMs) throw error;
        if (failures === 1)
          logger.warn(`${describe(entry, tick)}, is tried again until its next tick: ${errorText(error)}`, error);
        await sleep(delayMs, signal);
        if (entry.removed) throw error; // by the close of the server, too
      }
    }
  }
}

/** One time at which an entry is due. */
interface Tick {
  readonly dueAtMs: number;
  /** When the entry is due after that. */
  readonly nextMs: number | undefined;
}

function describe({ name }: Entry, { dueAtMs }: Tick): string {
  return `Periodic entry ${name}, due at ${new Date(dueAtMs).toISOString()}`;
}

interface EntryOptions {
  readonly name: string;
  readonly spec: string;
  readonly schedule: Schedule;
  readonly clock: Clock;
  readonly fire: (tick: Tick) => void;
  readonly onRemoved: () => void;
}

class Entry implements PeriodicEntry {
  readonly name: string;
  readonly spec: string;
  readonly #options: EntryOptions;
  #state: 'waiting' | 'paused' | 'removed' = 'waiting';
  #nextMs: number | undefined;
  #alarm: Alarm | undefined;

  constructor(options: EntryOptions) {
    this.name = options.name;
    this.spec = options.spec;
    this.#options = options;
    this.#waitFrom(options.clock.now());
  }

  get next(): Date | undefined {
    return this.#nextMs === undefined ? undefined : new Date(this.#nextMs);
  }

  get paused(): boolean {
    return this.#state === 'paused';
  }

  get removed(): boolean {
    return this.#state === 'removed';
  }

  pause(): void {
    if (this.#state === 'waiting') this.#stop('paused');
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'waiting';
    this.#waitFrom(this.#options.clock.now());
  }

  remove(): void {
    if (this.#state === 'removed') return;
    this.#stop('removed');
    this.#options.onRemoved();
  }

  #stop(state: 'paused' | 'removed'): void {
    this.#state = state;
    this.#alarm?.cancel();
    this.#nextMs = undefined;
  }

  #waitFrom(nowMs: number): void {
    const { schedule, clock } = this.#options;
    const nextMs = schedule.next(nowMs);
    this.#nextMs = nextMs;
    this.#alarm = nextMs === undefined ? undefined : clock.wakeAt(nextMs, () => this.#due(nextMs));
  }

  /** Ticks that were missed are not made up for: the next one is counted from now. */
  #due(dueAtMs: number): void {
    this.#waitFrom(Math.max(dueAtMs, this.#options.clock.now()));
    this.#options.fire({ dueAtMs, nextMs: this.#nextMs });
  }
}

function scheduleOf(spec: string, entry: string): Schedule {
  try {
    return parseCron(spec);
  } catch (cause) {
    throw invalidOption(`Periodic entry ${entry}: ${errorText(cause)}`);
  }
}

function noLock(name: string) {
  return invalidOption(
    `Periodic entry ${name} needs a lock, so that one of many schedulers sends it: give the Server the \`lock\` that ` +
      'its processes share, or `new EagerLock()` of @machinery/lock-eager when there is only this process',
  );
}

/** What the user's function makes for a tick. What it throws will not pass by itself: it is not called again. */
async function made<T>(entry: string, make: () => T | Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (cause) {
    const text = `The function of periodic entry ${entry} failed: ${errorText(cause)}`;
    throw new MachineryError('ERR_MACHINERY_INVALID_SIGNATURE', text, { cause });
  }
}

/** What is sent at one tick: nothing of it has the UUID of another tick. */
function checked(kind: string, entry: string, what: Signature | AnyWorkflow): Signature | AnyWorkflow {
  const found = isWorkflow(what) ? what.kind : 'task';
  if (found !== kind)
    throw invalidOption(
      `Periodic entry ${entry}: expected a ${kind}, got ${object(what) === undefined ? `a ${found}` : show(what)}`,
    );
  return withFreshUuids(what);
}

/** Whether nothing of it can have been published, so that it may be sent again. */
function isUnsent(error: unknown): boolean {
  if (!MachineryError.is(error, 'ERR_MACHINERY_GROUP_NOT_SENT')) return mayPass(error);
  const { sent, unsent } = error as GroupSendError;
  return sent.length === 0 && unsent.every((task) => mayPass(task.error));
}
