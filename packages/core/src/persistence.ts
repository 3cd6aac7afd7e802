// What a worker stores, publishes and reads, with servers that may be away: each call is made again until it is done or
// can never be. Used by `processor.ts` for the task in hand, by `follow-ups.ts` and `chords.ts` for what it sets off.

import { untilDone } from './backoff.ts';
import type { Engine } from './engine.ts';
import { errorText, mayPass } from './errors.ts';
import type { Outcome } from './outcome.ts';
import type { Signature } from './signature.ts';
import { stateWrite } from './state-writer.ts';
import type { TaskState } from './task-state.ts';

/** How much of an error's text is kept in a state that is too large with the whole of it, in characters. */
const shortErrorLength = 100;

export class Persistence {
  /** Fires when nothing that is in hand is wanted any more: every call below then rejects. */
  readonly signal: AbortSignal;
  /** Whether states may be looked at: not where reading one takes it away. */
  readonly mayRead: boolean;
  readonly #engine: Engine;
  readonly #who: string;
  /** What cannot be done now, for one warning. */
  readonly #away = new Set<string>();

  /** @param who says in logs who waits for a server. */
  constructor(engine: Engine, who: string, signal: AbortSignal) {
    this.mayRead = engine.results.mayRead;
    this.signal = signal;
    this.#engine = engine;
    this.#who = who;
  }

  /**
   * Stores a state of a task. Answers why it can never be stored.
   * @param first what became of it when it was written before.
   */
  async store(task: Signature, state: TaskState, dueAtMs?: number, first?: Outcome): Promise<Error | undefined> {
    const { states, sender } = this.#engine;
    const write = stateWrite(task, state, sender.expiresInSeconds(dueAtMs));
    let outcome = first ?? (await states.write(write)); // nearly always all there is to it
    if (outcome.status !== 'stored') outcome = await this.persist(() => states.write(write));
    this.signal.throwIfAborted(); // the message was given back: what follows is another worker's
    return outcome.status === 'failed' ? outcome.error : undefined;
  }

  /** Stores a state with an error's text, shortened when the backend refuses it whole. */
  async storeWithError(
    task: Signature,
    state: TaskState & { readonly error: string },
    dueAtMs?: number,
  ): Promise<Error | undefined> {
    const { error } = state;
    const refused = await this.store(task, state, dueAtMs);
    if (refused === undefined || error.length <= shortErrorLength) return refused;
    return this.store(task, { ...state, error: `${error.slice(0, shortErrorLength)}…` }, dueAtMs);
  }

  /** Reads states. What the backend refuses for good is as if nothing were stored: a task runs, at least once. */
  read(uuids: readonly string[]): Promise<(TaskState | undefined)[]> {
    const read = () => Promise.all(uuids.map((uuid) => this.#engine.results.read(uuid)));
    return this.untilDone('read', () =>
      read().catch((error) => {
        if (mayPass(error)) throw error;
        this.#engine.logger.error(`States cannot be read: ${errorText(error)}`, error);
        return uuids.map(() => undefined);
      }),
    );
  }

  /** Calls until the outcome is stored or can never be. What may have been stored is done again: at least once. */
  async persist(call: () => Promise<Outcome>): Promise<Outcome> {
    this.signal.throwIfAborted();
    return this.untilDone('written to', async () => {
      const outcome = await call();
      if (outcome.status === 'stored' || (outcome.status === 'failed' && !outcome.retryable)) return outcome;
      throw outcome.error;
    });
  }

  /** Waits out a server that is away, and says so once for all that wait for it. */
  async untilDone<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    const { logger } = this.#engine;
    const result = await untilDone(attempt, this.signal, (error) => {
      if (this.#away.has(what)) return;
      this.#away.add(what);
      logger.warn(`A server cannot be ${what}, ${this.#who} wait for it: ${errorText(error)}`, error);
    });
    if (this.#away.delete(what)) logger.info(`The server can be ${what} again, ${this.#who} go on`);
    return result;
  }
}
