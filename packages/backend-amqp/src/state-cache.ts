// What was read and is not in the server any more: others of this process may ask for it, and what comes later is merged with it.
// Bounded by the length of what it holds; the oldest is forgotten first.

import type { TaskState } from '@machinery/core';

interface Entry {
  readonly state: TaskState;
  readonly length: number;
  /** By `performance.now()`. */
  readonly expiresAt: number;
}

/** The most characters of states that are kept. */
const maxLength = 50_000_000;

export class StateCache {
  readonly #entries = new Map<string, Entry>();
  #length = 0;

  get(taskUuid: string): TaskState | undefined {
    const entry = this.#entries.get(taskUuid);
    if (entry === undefined) return undefined;
    if (entry.expiresAt > performance.now()) return entry.state;
    this.delete(taskUuid);
    return undefined;
  }

  set(taskUuid: string, state: TaskState, length: number, expiresInMs: number): void {
    this.delete(taskUuid);
    this.#entries.set(taskUuid, { state, length, expiresAt: performance.now() + expiresInMs });
    this.#length += length;
    for (const oldest of this.#entries.keys()) {
      if (this.#length <= maxLength) break;
      this.delete(oldest);
    }
  }

  delete(taskUuid: string): void {
    const entry = this.#entries.get(taskUuid);
    if (entry === undefined) return;
    this.#entries.delete(taskUuid);
    this.#length -= entry.length;
  }
}
