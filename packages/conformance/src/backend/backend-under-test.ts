// What the backend suite is told, and what its topics are written with: cases that open instances of their own, each of
// whose calls has a limit, and that run one by one or, where they wait for expiry, together.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, BackendCapabilities } from '@machinery/core';
import { withOpened } from '../opened.ts';
import { type Runner, within } from '../runner.ts';

/** A timer may fire a millisecond before its time. */
const timerSlackMs = 20;

/** An adapter to test, on a server that runs. */
export interface BackendUnderTest {
  /** A new backend on the same server, each time it is called. The suite closes what it made. */
  create(): Backend | Promise<Backend>;
  /** What the adapter must declare. States that the suite expects to be stored have up to 5,000 bytes. */
  readonly declares: BackendCapabilities;
  /** The limits in `declares` that come from options given here: the table of our own adapters knows only their defaults. */
  readonly limitsByOptions?: Pick<BackendCapabilities, 'maxStateBytes' | 'maxBatch' | 'maxGroupSize'>;
  /**
   * How much later than asked the store may drop what has expired, in milliseconds: 1,000 where it counts whole
   * seconds, for it may be late but never early. Default 0: gone when it is read after its time.
   */
  readonly expiryLagMs?: number;
  /**
   * Whether a task's UUID cannot be a key of the store: then its states fail for good, with ERR_MACHINERY_BACKEND_FAILED, and there is
   * nothing to read or to remove. Default: any text can be one.
   */
  readonly cannotBeKey?: (taskUuid: string) => boolean;
  /** How long any one call may take, in milliseconds. Default: 10,000. */
  readonly patienceMs?: number;
}

/** Opens one more instance of the backend under test, for the case that calls it. */
export type Open = () => Promise<Backend>;

export type Case = (open: Open) => Promise<void>;

/** What each topic of the suite gets. */
export class BackendSuite {
  readonly declares: BackendCapabilities;
  readonly patienceMs: number;
  readonly expiryLagMs: number;
  readonly cannotBeKey: (taskUuid: string) => boolean;
  readonly #runner: Runner;
  readonly #create: () => Backend | Promise<Backend>;

  constructor(runner: Runner, underTest: BackendUnderTest) {
    const { create, declares, patienceMs = 10_000, expiryLagMs = 0, cannotBeKey = () => false } = underTest;
    this.#runner = runner;
    this.#create = create;
    this.declares = declares;
    this.patienceMs = patienceMs;
    this.expiryLagMs = expiryLagMs;
    this.cannotBeKey = cannotBeKey;
  }

  /** The most states in one call. */
  get batch(): number {
    return this.declares.maxBatch ?? 1_000;
  }

  /** Resolves when what was written before, to be kept for that long, has to be gone. */
  async untilExpired(seconds: number): Promise<void> {
    await sleep(seconds * 1_000 + this.expiryLagMs + timerSlackMs);
  }

  describe(name: string, define: () => void): void {
    this.#runner.describe(name, define);
  }

  it(name: string, run: Case): void {
    this.#runner.it(name, () => this.#run(run), this.#caseLimitMs);
  }

  /** Cases that mostly wait: the first that is asked for starts them all. */
  together(cases: Readonly<Record<string, Case>>): void {
    let running: Map<string, Promise<void>> | undefined;
    for (const name of Object.keys(cases)) {
      this.#runner.it(
        name,
        async () => {
          running ??= new Map(Object.entries(cases).map(([each, run]) => [each, this.#run(run)]));
          // Reported by its own case, which may be later than it fails, or never.
          for (const each of running.values()) each.catch(() => {});
          await running.get(name);
        },
        this.#caseLimitMs,
      );
    }
  }

  get #caseLimitMs(): number {
    return 30_000 + 6 * this.patienceMs;
  }

  #run(run: Case): Promise<void> {
    return withOpened(async () => bounded(await this.#create(), this.patienceMs), run);
  }
}

/** The same adapter, each of whose promises rejects when it takes too long. */
export function bounded<T extends { readonly name: string }>(adapter: T, patienceMs: number): T {
  return new Proxy(adapter, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        const answer: unknown = Reflect.apply(member, target, args);
        if (!(answer instanceof Promise)) return answer;
        return within(patienceMs, `${target.name} to answer ${String(key)}`, answer);
      };
    },
  });
}
