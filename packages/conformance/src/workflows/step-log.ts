// What ran, in the order in which it began, for cases that wait for it.

import { within } from '../runner.ts';

/** One attempt of `step`. */
export interface Ran {
  readonly label: string;
  /** Its label among them. */
  readonly args: readonly string[];
  readonly uuid: string;
  readonly attempt: number;
}

export class StepLog {
  readonly entries: Ran[] = [];
  /** Told of each attempt, and how many there were so far. */
  onAdd: (count: number) => void = () => {};
  #waiting: (() => void)[] = [];

  add(entry: Ran): void {
    this.entries.push(entry);
    this.onAdd(this.entries.length);
    for (const look of this.#waiting.splice(0)) look();
  }

  /** How often a task has run. */
  times(label: string): number {
    return this.entries.filter((entry) => entry.label === label).length;
  }

  /** Resolves with the arguments of the first attempt of a task, once it has begun. */
  async began(label: string, patienceMs: number): Promise<readonly string[]> {
    const first = () => this.entries.find((entry) => entry.label === label);
    await this.until(`task ${label} to begin`, () => first() !== undefined, patienceMs);
    return first()?.args ?? [];
  }

  /** Resolves when `done` is true of the log; rejects with an AssertionError when that takes too long. */
  async until(what: string, done: () => boolean, patienceMs: number): Promise<void> {
    let over = false;
    const wait = async () => {
      while (!done() && !over) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    };
    try {
      await within(patienceMs, what, wait());
    } finally {
      over = true;
    }
  }
}
