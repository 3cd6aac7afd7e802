// Which calls of an adapter fail, and how. `FaultyBroker` and `FaultyBackend` send each call through here.
// Invariant: a call that fails `before` has changed nothing; one that fails `after` is carried out whole, and only its answer is lost.

import { failed, type MachineryError, type Outcome } from '@machinery/core';
import { seededRandom } from './seeded-random.ts';

/** Whether a call was carried out when it failed. */
export type Moment = 'before' | 'after';

export interface Fault {
  /** Default: `before`. */
  readonly moment?: Moment;
  /**
   * Of calls that answer outcomes: they answer `failed`, to be tried again, or after they were carried out `unknown`,
   * instead of rejecting. Default: false.
   */
  readonly answered?: boolean;
}

/** Calls that are to fail, counted from now on. */
export interface CallFault extends Fault {
  /** The first that fails. Default: 1, the next one. */
  readonly nth?: number;
  /** How many fail, one after another. Default: 1. */
  readonly times?: number;
}

export interface RandomFaults<Call extends string> {
  /** How likely each call fails, 0 to 1. */
  readonly rate: number;
  readonly seed: number;
  /** Which calls may fail. Default: all. */
  readonly calls?: readonly Call[];
}

/** All calls fail from one on, until `restore`. */
export interface Outage {
  /** The call at which it begins, counted over all calls from now on. */
  readonly nth: number;
  /** Whether that call was carried out. Default: `before`. */
  readonly moment?: Moment;
  /** Told when it has begun. */
  readonly onBegin?: () => void;
}

interface Chosen extends Required<Fault> {
  /** How many of the items of a batch are hit, 0 to 1. */
  readonly share: number;
}

const lost: Chosen = { moment: 'before', answered: false, share: 1 };

export class Faults<Call extends string> {
  /** How often each call was made, those that failed included. */
  readonly calls: Record<Call, number>;
  readonly #error: (call: Call) => MachineryError;
  readonly #planned = new Map<Call, Map<number, Chosen>>();
  #random: (RandomFaults<Call> & { readonly next: () => number }) | undefined;
  #outage: (Outage & { readonly at: number }) | undefined;
  #away = new AbortController();

  constructor(calls: readonly Call[], error: (call: Call) => MachineryError) {
    this.calls = Object.fromEntries(calls.map((call) => [call, 0])) as Record<Call, number>;
    this.#error = error;
  }

  /** How many calls were made in all. */
  get total(): number {
    return Object.values<number>(this.calls).reduce((sum, count) => sum + count, 0);
  }

  /** Fires when an outage begins: what waits for a server then waits in vain. Another one after each `restore`. */
  get away(): AbortSignal {
    return this.#away.signal;
  }

  fail(call: Call, { nth = 1, times = 1, moment = 'before', answered = false }: CallFault = {}): void {
    const planned = this.#planned.get(call) ?? new Map<number, Chosen>();
    this.#planned.set(call, planned);
    for (let i = 0; i < times; i++) planned.set(this.calls[call] + nth + i, { moment, answered, share: 1 });
  }

  failAtRandom(faults: RandomFaults<Call>): void {
    this.#random = { ...faults, next: seededRandom(faults.seed) };
  }

  /** All calls reject from now on. */
  outage(): void {
    this.#away.abort();
  }

  outageAt(outage: Outage): void {
    this.#outage = { ...outage, at: this.total + outage.nth };
  }

  /** Ends the outage and the random faults, and forgets what is to come. */
  restore(): void {
    if (this.#away.signal.aborted) this.#away = new AbortController();
    this.#random = undefined;
    this.#outage = undefined;
    this.#planned.clear();
  }

  /** Makes a call, or lets it fail. */
  async pass<T>(call: Call, carryOut: () => Promise<T>): Promise<T> {
    const fault = this.#next(call);
    if (fault === undefined) return carryOut();
    if (fault.moment === 'after') await carryOut();
    throw this.#error(call);
  }

  /** Makes a call that answers an outcome for each of its items. */
  async passBatch<T>(
    call: Call,
    items: readonly T[],
    carryOut: (items: readonly T[]) => Promise<Outcome[]>,
  ): Promise<Outcome[]> {
    const fault = this.#next(call);
    if (fault === undefined) return carryOut(items);
    const error = this.#error(call);
    if (!fault.answered) {
      if (fault.moment === 'after') await carryOut(items);
      throw error;
    }
    const { share } = fault;
    const hit = items.map(() => share === 1 || (this.#random?.next() ?? 0) < share);
    if (fault.moment === 'after') {
      const outcomes = await carryOut(items);
      return outcomes.map((outcome, i) =>
        hit[i] && outcome.status === 'stored' ? { status: 'unknown', error } : outcome,
      );
    }
    return exceptFor(items, (_, i) => (hit[i] ? failed(error, true) : undefined), carryOut);
  }

  #next(call: Call): Chosen | undefined {
    const nth = ++this.calls[call];
    if (this.#away.signal.aborted) return lost;
    if (this.#outage !== undefined && this.total >= this.#outage.at) {
      const { moment = 'before', onBegin } = this.#outage;
      this.#outage = undefined;
      this.#away.abort();
      onBegin?.();
      return { ...lost, moment };
    }
    const planned = this.#planned.get(call);
    const fault = planned?.get(nth);
    planned?.delete(nth);
    if (fault !== undefined || this.#random === undefined) return fault;
    const { rate, calls, next } = this.#random;
    if ((calls !== undefined && !calls.includes(call)) || next() >= rate) return undefined;
    return { moment: next() < 0.5 ? 'before' : 'after', answered: next() < 0.5, share: 0.5 };
  }
}

/** Carries out a batch without the items that have an outcome already. */
export async function exceptFor<T>(
  items: readonly T[],
  outcomeOf: (item: T, place: number) => Outcome | undefined,
  carryOut: (items: readonly T[]) => Promise<Outcome[]>,
): Promise<Outcome[]> {
  const known = items.map(outcomeOf);
  const others = items.filter((_, i) => known[i] === undefined);
  const outcomes = others.length === 0 ? [] : [...(await carryOut(others))];
  return known.map((outcome) => outcome ?? (outcomes.shift() as Outcome));
}
