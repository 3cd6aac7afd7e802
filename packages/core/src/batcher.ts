// Joins single calls into batches: what is added in one tick goes together, and what is added while a batch is under way
// goes with the next, or, where calls may overlap, as soon as there is much of it. A batch never waits for more to come when there is
// something to do now. Order is kept.

import { MachineryError } from './errors.ts';
import { inMicrotask } from './microtask.ts';

export interface BatcherOptions {
  /** The most items of one batch. Default: 1,000. */
  readonly maxItems?: number | undefined;
  /** Send each item by itself and at once, however many are under way (an eager broker). Default: false. */
  readonly unbatched?: boolean | undefined;
  /**
   * Begin a batch as soon as it has so many items, whatever is under way, so that the server works while the next are made: where calls that
   * overlap keep their order. Default: one batch after the other.
   */
  readonly overlapAt?: number | undefined;
  /** Whose fault a wrong number of answers is. Default: the backend's. */
  readonly faultOf?: 'broker' | 'backend';
}

/** What an item is answered when its batch failed as a whole. Without it, the items reject with the error. */
export type Failure<R> = (error: Error) => R;

interface Waiting<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

export class Batcher<T, R> {
  readonly #run: (items: readonly T[]) => Promise<readonly R[]>;
  readonly #failure: Failure<R> | undefined;
  readonly #maxItems: number;
  readonly #overlapAt: number;
  readonly #faultOf: 'broker' | 'backend';
  #waiting: Waiting<T, R>[] = [];
  #scheduled = false;
  /** How many batches are under way beside those that go one after the other. */
  #beside = 0;
  #idle: (() => void)[] = [];

  /** `run` answers one result for each item, in order. What it throws goes to every item of its batch. */
  constructor(run: (items: readonly T[]) => Promise<readonly R[]>, options: BatcherOptions = {}, failure?: Failure<R>) {
    this.#run = run;
    this.#failure = failure;
    this.#maxItems = options.maxItems ?? 1_000;
    const overlapAt = options.unbatched ? 1 : options.overlapAt;
    this.#overlapAt = overlapAt === undefined ? Number.POSITIVE_INFINITY : Math.min(overlapAt, this.#maxItems);
    this.#faultOf = options.faultOf ?? 'backend';
  }

  add(item: T): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#waiting.length >= this.#overlapAt) void this.#runBeside();
      else this.#schedule();
    });
  }

  /** The same for items that come together: one promise for all, in their order. */
  addAll(items: readonly T[]): Promise<R[]> {
    if (this.#overlapAt === 1 || items.length === 0) return Promise.all(items.map((item) => this.add(item)));
    return new Promise((resolveAll, reject) => {
      const results: R[] = [];
      const resolve = (result: R) => {
        if (results.push(result) === items.length) resolveAll(results);
      };
      for (const item of items) this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    inMicrotask(() => this.#flush());
  }

  async #runBeside(): Promise<void> {
    this.#beside++;
    await this.#runBatch(this.#waiting.splice(0));
    this.#beside--;
    this.#tellIdle();
  }

  /** Never rejects: its items do. */
  async #runBatch(batch: readonly Waiting<T, R>[]): Promise<void> {
    try {
      const results = await this.#run(batch.map(({ item }) => item));
      this.#checkCount(results.length, batch.length);
      for (let i = 0; i < batch.length; i++) (batch[i] as Waiting<T, R>).resolve(results[i] as R);
    } catch (error) {
      for (const { resolve, reject } of batch) {
        if (this.#failure === undefined) reject(error);
        else resolve(this.#failure(error as Error));
      }
    }
  }

  #checkCount(results: number, items: number): void {
    if (results === items) return;
    const code = this.#faultOf === 'broker' ? 'ERR_MACHINERY_BROKER_FAILED' : 'ERR_MACHINERY_BACKEND_FAILED';
    throw new MachineryError(code, `The ${this.#faultOf} answered ${results} results for a batch of ${items}`);
  }

  /** Resolves when nothing is waiting or under way. */
  async settled(): Promise<void> {
    if (this.#scheduled || this.#beside > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.length <= this.#maxItems ? this.#waiting : this.#waiting.slice(0, this.#maxItems);
      this.#waiting = batch === this.#waiting ? [] : this.#waiting.slice(this.#maxItems);
      await this.#runBatch(batch);
      // What waited for this batch may add more in its own continuations: let them join the next one.
      await undefined;
      await undefined;
      await undefined;
    }
    this.#scheduled = false;
    this.#tellIdle();
  }

  #tellIdle(): void {
    if (this.#scheduled || this.#beside > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
