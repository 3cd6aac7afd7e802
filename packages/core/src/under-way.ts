// Counts the calls that are under way, so that `close` can wait for them: for adapters.

/** Counts calls. */
export class UnderWay {
  #count = 0;
  #onNone: (() => void)[] = [];

  /** Calls, and counts the call until it has ended. Answers, or rejects, as it does. */
  async during<T>(call: () => Promise<T>): Promise<T> {
    this.#count += 1;
    try {
      return await call();
    } finally {
      this.#count -= 1;
      if (this.#count === 0) for (const resolve of this.#onNone.splice(0)) resolve();
    }
  }

  /** Resolves when nothing is under way. */
  async none(): Promise<void> {
    if (this.#count > 0) await new Promise<void>((resolve) => this.#onNone.push(resolve));
  }
}
