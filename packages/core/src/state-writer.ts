// Writes task states to the backend, batched. Follows `processor.ts`, which says what to write. Two kinds: a state that
// something waits for (`write`), and the news that a task is running (`announce`), which is only written when the task
// still runs a moment later. There is at most one write under way, so a later state never overtakes an earlier one.

import type { Backend, StateWrite } from './backend.ts';
import { Batcher } from './batcher.ts';
import { groupOf, isChordMember } from './chords.ts';
import { errorText, mayPass } from './errors.ts';
import type { Logger } from './logger.ts';
import { failed, type Outcome, stored } from './outcome.ts';
import type { Signature } from './signature.ts';
import { isFinal, mergeState, type TaskState } from './task-state.ts';

/** A task that is being worked on, as far as its announcement needs it. */
export interface Announced {
  /** What to write now; undefined once the attempt is over. */
  currentState(): StateWrite | undefined;
}

/** A state of a task, to be stored: with the group, when it is the last word of a chord's member. */
export function stateWrite(task: Signature, state: TaskState, expiresInSeconds: number): StateWrite {
  const group = isFinal(state.state) && isChordMember(task) ? groupOf(task) : undefined;
  return group === undefined ? { state, expiresInSeconds } : { state, expiresInSeconds, group };
}

/** How long RECEIVED and STARTED wait to be overtaken by a final state, in milliseconds. */
const announceAfterMs = 10;

export class StateWriter {
  readonly #storesResults: boolean;
  readonly #batcher: Batcher<StateWrite, Outcome>;
  readonly #logger: Logger;
  #announced: Announced[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(backend: Backend, logger: Logger) {
    this.#storesResults = backend.capabilities.storesResults;
    this.#batcher = new Batcher(
      (writes) => writeEachOnce(backend, writes),
      { maxItems: backend.capabilities.maxBatch },
      (error) => failed(error, mayPass(error)),
    );
    this.#logger = logger;
  }

  /** Stores a state; resolves with what became of it, also when the backend cannot be asked. */
  write(write: StateWrite): Promise<Outcome> {
    return this.#storesResults ? this.#batcher.add(write) : Promise.resolve(stored);
  }

  /** The same for states that come together. */
  writeAll(writes: readonly StateWrite[]): Promise<Outcome[]> {
    return this.#storesResults ? this.#batcher.addAll(writes) : Promise.resolve(writes.map(() => stored));
  }

  /** Writes the state of a task if it is still being worked on in `announceAfterMs`. */
  announce(task: Announced): void {
    if (!this.#storesResults) return;
    this.#announced.push(task);
    this.#timer ??= setTimeout(() => this.#writeAnnounced(), announceAfterMs).unref();
  }

  async settled(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#batcher.settled();
  }

  #writeAnnounced(): void {
    this.#timer = undefined;
    for (const task of this.#announced.splice(0)) {
      const write = task.currentState();
      if (write === undefined) continue;
      // Best effort: the final state is what is waited for and tried again.
      void this.#batcher.add(write).then((outcome) => {
        if (outcome.status === 'stored') return;
        const { state, taskUuid } = write.state;
        this.#logger.debug(`State ${state} of task ${taskUuid} was not written: ${errorText(outcome.error)}`);
      });
    }
  }
}

/** A batch has one state for each task at most: many stores refuse, or reorder, two writes of one key. */
async function writeEachOnce(backend: Backend, writes: readonly StateWrite[]): Promise<readonly Outcome[]> {
  const places = new Map<string, number>();
  const once: StateWrite[] = [];
  for (const write of writes) {
    const place = places.get(write.state.taskUuid);
    if (place === undefined) {
      places.set(write.state.taskUuid, once.length);
      once.push(write);
    } else {
      const { state, expiresInSeconds, group = write.group } = once[place] as StateWrite;
      const longer = Math.max(expiresInSeconds, write.expiresInSeconds);
      once[place] = { state: mergeState(state, write.state), expiresInSeconds: longer, ...(group && { group }) };
    }
  }
  const outcomes = await backend.write(once);
  if (once.length === writes.length) return outcomes;
  return writes.map(({ state }) => outcomes[places.get(state.taskUuid) as number] as Outcome);
}
