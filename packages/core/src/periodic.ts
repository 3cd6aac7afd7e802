// Periodic entries: what is sent at the times of a cron spec. Any number of processes may have the same entries: whoever
// gets the lock, which is held until the next tick, sends. `cron.ts` says when; the server sends as it sends anything.
//
// Invariant: a tick is sent at most once. While the lock, the backend or the broker is away and it cannot have been, it is
// tried until the entry's next tick is due.

import { reconnectDelayMs, sharedAbortController } from './backoff.ts';
import type { Alarm, Clock } from './clock.ts';
import { parseCron, type Schedule } from './cron.ts';
import { errorText, type GroupSendError, MachineryError, mayPass } from './errors.ts';
import type { Lock } from './lock.ts';
import type { Logger } from './logger.ts';
import { checkOptions, integer, invalidOption, object, optional, show, string } from './options.ts';
import { checkSendable, withNewUuids } from './plan.ts';
import type { Signature } from './signature.ts';
import { isTask } from './task.ts';
import { type AnyWorkflow, isWorkflow } from './workflow.ts';
import type { WorkflowOptions } from './workflow-sender.ts';

/** What a periodic entry sends: a signature or a workflow, or a function that makes it at each tick. A tick whose function throws is not sent. */
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
  /** Leaves out the ticks until `resume`, in this process: others that have the entry go on. The tick under way is sent, but not tried again. */
  pause(): void;
  /** Waits for the next tick from now on. */
  resume(): void;
  /** Ends the entry, in this process; its name is free again. The tick under way is sent, but not tried again. Safe to call twice. */
  remove(): void;
}

interface SchedulerOptions {
  readonly clock: Clock;
  readonly lock: Lock | undefined;
  readonly logger: Logger;
  readonly programName: string;
  readonly send: (what: Signature | AnyWorkflow, options: PeriodicOptions, entry: string) => Promise<unknown>;
}

/** How long a tick that has no next one holds its lock, in milliseconds. */
const lastTickMs = 86_400_000;
/** How long `close` waits for a lock or a function of the user's that may never answer, in milliseconds. */
const closingMs = 1_000;
/** After how many milliseconds a lock that was ours until now is asked again: its clock may be a little behind. */
const askAgainAfterMs = [50, 250];

/** The periodic entries of a server. */
export class PeriodicScheduler {
  readonly #options: SchedulerOptions;
  readonly #entries = new Map<string, Entry>();
  /** How many ticks are being sent. Those that wait for their next try are not counted. */
  #busy = 0;
  #idle: (() => void)[] = [];
  #closed = false;
  /** Fires when nobody waits for answers any more. */
  readonly #abandoned = sharedAbortController();

  /** @internal Made by the server. */
  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** All entries, in the order in which they were registered. */
  entries(): PeriodicEntry[] {
    return [...this.#entries.values()];
  }

  /** @internal */
  get isSettled(): boolean {
    return this.#busy === 0;
  }

  /** Resolves when each tick that is due has been sent, has failed, or waits for its next try. */
  async settled(): Promise<void> {
    while (this.#busy > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** @internal Behind the methods of the server. */
  register(
    kind: 'task' | AnyWorkflow['kind'],
    spec: string,
    name: string,
    what: Periodic<Signature | AnyWorkflow>,
    options: PeriodicOptions = {},
  ): PeriodicEntry {
    if (this.#closed) throw new MachineryError('ERR_MACHINERY_CLOSED', 'The server is closed');
    if (string(name) !== undefined)
      throw invalidOption(`Expected the name of a periodic entry to be ${string(name)}, got ${show(name)}`);
    if (typeof spec !== 'string')
      throw invalidOption(`Periodic entry ${name}: expected a cron spec such as \`0 6 * * *\`, got ${show(spec)}`);
    checkOptions(`Options of periodic entry ${name}`, options, { sendConcurrency: optional(integer({ min: 1 })) });
    const { lock, clock, logger, programName } = this.#options;
    if (lock === undefined) throw noLock(name);
    const lockKey = `machinery_lock_${programName}${name}${spec}`; // Go: utils.GetLockName
    this.#refuseTwice(name, lockKey);
    // What can never be sent is refused now; of a function, nobody knows.
    if (typeof what !== 'function') checkSendable(ofKind(kind, name, what));
    else if (isTask(what)) checkSendable(ofKind(kind, name, (what as () => Signature)()));
    const entry: Entry = new Entry({
      name,
      spec,
      lockKey,
      schedule: scheduleOf(spec, name),
      clock,
      make: async () => withNewUuids(ofKind(kind, name, typeof what === 'function' ? await what() : what)),
      options,
      onDue: (tick) => void this.#tick(entry, lock, tick),
      onRemoved: () => this.#entries.delete(name),
    });
    if (entry.next === undefined)
      logger.warn(`Periodic entry ${name} is never due: \`${spec}\` fits no time of the next years`);
    this.#entries.set(name, entry);
    return entry;
  }

  /** @internal Ends all entries; resolves when what is being sent is sent. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#entries.values()) entry.remove();
    const timer = setTimeout(() => this.#abandoned.abort(closedMeanwhile()), closingMs);
    await this.settled();
    clearTimeout(timer);
  }

  #refuseTwice(name: string, lockKey: string): void {
    if (this.#entries.has(name))
      throw invalidOption(`There is a periodic entry ${name} already: remove it first, or choose another name`);
    const other = [...this.#entries.values()].find((entry) => entry.lockKey === lockKey);
    if (other === undefined) return;
    throw invalidOption(
      `Periodic entry ${name} would share the lock ${lockKey} with entry ${other.name} (${other.spec}), so that only one of them is sent: choose another name`,
    );
  }

  /** Sends what is due, if the lock is to be had. Never rejects. */
  async #tick(entry: Entry, lock: Lock, tick: Tick): Promise<void> {
    const { clock, logger, send } = this.#options;
    this.#busy++;
    try {
      const isOurs = await this.#acquire(entry, lock, tick);
      if (!isOurs && !tick.warned) return logger.debug(`${tick.name}: the lock is held`);
      if (!isOurs) return logger.warn(`${tick.name}, is not sent here: the lock is held, or an answer of it was lost`);
      if (clock.now() >= tick.nextMs)
        return logger.warn(`${tick.name}, is not sent: the lock has answered only when the next tick was due`);
      entry.heldUntilMs = tick.nextMs;
      const due = await this.#answer(entry.make());
      await this.#untilNext(tick, () => send(due, entry.options, entry.name));
      logger.debug(`${tick.name}: sent`);
    } catch (error) {
      logger.error(`${tick.name}, failed: ${errorText(error)}`, error);
    } finally {
      this.#rest();
    }
  }

  async #acquire(entry: Entry, lock: Lock, tick: Tick): Promise<boolean> {
    const { dueAtMs, nextMs } = tick;
    const heldUntilMs = Number.isFinite(nextMs) ? nextMs : dueAtMs + lastTickMs;
    const expiresAtNs = BigInt(heldUntilMs) * 1_000_000n - 1n; // Go: schedule.Next(time.Now()).UnixNano()-1
    const ask = () => this.#untilNext(tick, () => this.#answer(lock.acquire(entry.lockKey, expiresAtNs)));
    if (await ask()) return true;
    if (entry.heldUntilMs !== dueAtMs) return false;
    for (const delayMs of askAgainAfterMs) {
      if (this.#options.clock.now() + delayMs >= (dueAtMs + nextMs) / 2) return false;
      await this.#sleep(delayMs, tick.signal);
      if (tick.signal.aborted) return false;
      if (await ask()) return true;
    }
    return false;
  }

  /** Calls until it works; what may pass is tried again for as long as the next tick is not due. One warning for a tick. */
  async #untilNext<T>(tick: Tick, attempt: () => Promise<T>): Promise<T> {
    const { clock, logger } = this.#options;
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        const delayMs = Math.ceil(reconnectDelayMs(failures));
        if (!isUnsent(error) || clock.now() + delayMs >= tick.nextMs) throw error;
        if (!tick.warned) logger.warn(`${tick.name}, is tried again until its next tick: ${errorText(error)}`, error);
        tick.warned = true;
        await this.#sleep(delayMs, tick.signal);
        if (tick.signal.aborted) throw error;
      }
    }
  }

  /** Ends early when the signal fires. */
  async #sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { clock } = this.#options;
    await new Promise<void>((resolve) => {
      const wake = () => {
        alarm.cancel();
        signal.removeEventListener('abort', wake);
        this.#busy++;
        resolve();
      };
      const alarm = clock.wakeAt(clock.now() + delayMs, wake);
      signal.addEventListener('abort', wake);
      this.#rest();
    });
  }

  /** What somebody else answers, who may never do so. */
  #answer<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#abandoned;
    return new Promise((resolve, reject) => {
      const abandon = () => reject(signal.reason);
      signal.addEventListener('abort', abandon);
      work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abandon));
    });
  }

  #rest(): void {
    if (--this.#busy === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** One time at which an entry is due. */
interface Tick {
  /** For logs. */
  readonly name: string;
  readonly dueAtMs: number;
  /** When the entry is due after that; Infinity: never. */
  readonly nextMs: number;
  /** Fires when it is not to be tried again. */
  readonly signal: AbortSignal;
  warned: boolean;
}

interface EntryOptions {
  readonly name: string;
  readonly spec: string;
  readonly lockKey: string;
  readonly schedule: Schedule;
  readonly clock: Clock;
  readonly make: () => Promise<Signature | AnyWorkflow>;
  readonly options: PeriodicOptions;
  readonly onDue: (tick: Tick) => void;
  readonly onRemoved: () => void;
}

class Entry implements PeriodicEntry {
  readonly name: string;
  readonly spec: string;
  readonly lockKey: string;
  /** Makes what is sent at a tick. */
  readonly make: () => Promise<Signature | AnyWorkflow>;
  readonly options: PeriodicOptions;
  /** Until when this scheduler has had the lock, Unix milliseconds. */
  heldUntilMs = 0;
  readonly #own: EntryOptions;
  #state: 'waiting' | 'paused' | 'removed' = 'waiting';
  #nextMs = Number.POSITIVE_INFINITY;
  #alarm: Alarm | undefined;
  /** Ends the waits of ticks that are tried again. */
  #stopped = new AbortController();

  constructor(own: EntryOptions) {
    this.name = own.name;
    this.spec = own.spec;
    this.lockKey = own.lockKey;
    this.make = own.make;
    this.options = own.options;
    this.#own = own;
    this.#waitFrom(own.clock.now());
  }

  get next(): Date | undefined {
    return Number.isFinite(this.#nextMs) ? new Date(this.#nextMs) : undefined;
  }

  get paused(): boolean {
    return this.#state === 'paused';
  }

  pause(): void {
    if (this.#state === 'waiting') this.#stop('paused');
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'waiting';
    this.#stopped = new AbortController();
    this.#waitFrom(this.#own.clock.now());
  }

  remove(): void {
    if (this.#state === 'removed') return;
    this.#stop('removed');
    this.#own.onRemoved();
  }

  #stop(state: 'paused' | 'removed'): void {
    this.#state = state;
    this.#alarm?.cancel();
    this.#nextMs = Number.POSITIVE_INFINITY;
    this.#stopped.abort();
  }

  #waitFrom(nowMs: number): void {
    const { schedule, clock } = this.#own;
    const nextMs = schedule.next(nowMs);
    this.#nextMs = nextMs ?? Number.POSITIVE_INFINITY;
    this.#alarm = nextMs === undefined ? undefined : clock.wakeAt(nextMs, () => this.#due(nextMs));
  }

  /** Ticks that were missed are not made up for: the next one is counted from now. */
  #due(dueAtMs: number): void {
    const { clock, onDue } = this.#own;
    this.#waitFrom(Math.max(dueAtMs, clock.now()));
    const name = `Periodic entry ${this.name}, due at ${new Date(dueAtMs).toISOString()}`;
    onDue({ name, dueAtMs, nextMs: this.#nextMs, signal: this.#stopped.signal, warned: false });
  }
}

function scheduleOf(spec: string, entry: string): Schedule {
  try {
    return parseCron(spec);
  } catch (cause) {
    throw invalidOption(`Periodic entry ${entry}: ${errorText(cause)}`);
  }
}

function noLock(name: string): MachineryError {
  return invalidOption(
    `Periodic entry ${name} needs a lock, so that one of many schedulers sends it: give the Server the \`lock\` that ` +
      'its processes share, or `new EagerLock()` of @machinery/lock-eager when there is only this process',
  );
}

function ofKind(kind: string, entry: string, what: Signature | AnyWorkflow): Signature | AnyWorkflow {
  const found = isWorkflow(what) ? what.kind : 'task';
  if (found === kind) return what;
  const got = object(what) === undefined ? `a ${found}` : show(what);
  throw invalidOption(`Periodic entry ${entry}: expected a ${kind}, got ${got}`);
}

/** Whether nothing of it can have been published, so that it may be sent again. */
function isUnsent(error: unknown): boolean {
  if (!MachineryError.is(error, 'ERR_MACHINERY_GROUP_NOT_SENT')) return mayPass(error);
  const { sent, unsent } = error as GroupSendError;
  return sent.length === 0 && unsent.every((task) => mayPass(task.error));
}

function closedMeanwhile(): MachineryError {
  return new MachineryError(
    'ERR_MACHINERY_CLOSED',
    'The server was closed, and its lock or the function of the entry did not answer',
  );
}
