// What happened, in order, and a way to wait until it has.

export class Journal<T> {
  readonly items: T[] = [];
  readonly #waiting = new Set<() => void>();

  add(item: T): void {
    this.items.push(item);
    for (const look of [...this.#waiting]) look();
  }

  /** Resolves when `happened` holds, now or later. */
  until(happened: (items: readonly T[]) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!happened(this.items)) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** The first item that matches, now or later. */
  async first(matches: (item: T) => boolean): Promise<T> {
    await this.until((items) => items.some(matches));
    return this.items.find(matches) as T;
  }
}

/** A promise that is opened from outside. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function gate(): Gate {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

/** Resolves in the next turn of the event loop: what was resolved before has gone on. */
export const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
