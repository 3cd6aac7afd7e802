// What is sent when a task has ended: its success or error callbacks, and the callback of a chord that it completes or
// fails (`chords.ts`). All of it is published before the task's message is acked, so that a workflow never ends silently.
//
// Invariant: a redelivery of the task finds what went out before, by its UUID, and sends only what is missing.

import type { Message } from './broker.ts';
import { Chords, isChordMember } from './chords.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError } from './errors.ts';
import { header } from './headers.ts';
import type { Persistence } from './persistence.ts';
import { derivedUuid, type Named, type Sendable } from './sender.ts';
import type { Arg, Signature } from './signature.ts';
import { isFinal, isOlderThan, newGroupMeta, type TaskResult, type TaskState } from './task-state.ts';

/** How the task came to its end. */
export interface Ending {
  /** It had ended before and its message came back: what went out already is left alone. */
  readonly again: boolean;
  /** When the task was sent, where that is known: states from before are of an earlier send under the same UUIDs. */
  readonly sentAt: string | undefined;
}

export class FollowUps {
  readonly chords: Chords;
  readonly #engine: Engine;
  readonly #persistence: Persistence;

  constructor(engine: Engine, persistence: Persistence) {
    this.#engine = engine;
    this.#persistence = persistence;
    this.chords = new Chords(engine, persistence, {
      send: (callback, sentAt) => this.#send([callback], { again: true, sentAt }),
      fail: (callback, error, sentAt) => this.#fail(callback, error, sentAt),
    });
  }

  /** Sends what a success sets off; undefined: there is nothing. Never rejects but when the worker stops at once. */
  succeeded(signature: Sendable, results: readonly TaskResult[], ending: Ending): Promise<void> | undefined {
    const callbacks = successCallbacks(signature, results);
    if (!isChordMember(signature)) return callbacks.length === 0 ? undefined : this.#send(callbacks, ending);
    return this.#send(callbacks, ending).then(() => this.chords.memberSucceeded(signature, ending));
  }

  /** Sends what the last failure sets off, and fails the chords that cannot be completed any more; undefined: there is nothing. */
  failed(signature: Named, error: string, ending: Ending): Promise<void> | undefined {
    const callbacks = errorCallbacks(signature, error);
    const groups = membersOf([signature]);
    if (groups.size === 0) return callbacks.length === 0 ? undefined : this.#send(callbacks, ending);
    return this.#send(callbacks, ending).then(() => this.#failGroups(groups, signature, error, ending.sentAt));
  }

  /** Marks a task that was never published as failed, and fails the chord that others still work for. Its error callbacks are not sent. */
  async neverSent(signature: Named, error: string, chordHasBegun: boolean): Promise<void> {
    const sentAt = signature.headers?.[header.sentAt] as string | undefined;
    await this.#storeFailure(signature, error, sentAt);
    if (chordHasBegun) await this.#failGroups(membersOf([signature]), signature, error, sentAt);
  }

  /**
   * Sends callbacks: the metas of whole groups first, then each PENDING, then the messages, so that a member that is fast
   * finds the others.
   */
  async #send(callbacks: readonly Signature[], { again, sentAt }: Ending): Promise<void> {
    if (callbacks.length === 0) return;
    const { sender } = this.#engine;
    const sendables = callbacks.map((callback) => sender.complete(callback, sentAt));
    const states = again ? await this.#statesOf(sendables, sentAt) : [];
    await this.#initGroups(sendables, again);
    const messages = await Promise.all(sendables.map((callback, i) => this.#prepare(callback, states[i], sentAt)));
    await Promise.all(
      messages.map(async (message, i) => {
        if (message === undefined) return;
        const outcome = await this.#persistence.persist(() => sender.publish(message));
        if (outcome.status === 'failed') await this.#cannotBeSent(sendables[i] as Sendable, outcome.error, sentAt);
      }),
    );
  }

  async #statesOf(callbacks: readonly Named[], sentAt: string | undefined): Promise<(TaskState | undefined)[]> {
    if (!this.#persistence.mayRead) return [];
    const states = await this.#persistence.read(callbacks.map(({ uuid }) => uuid));
    return states.map((state) => (state === undefined || isOlderThan(state, sentAt) ? undefined : state));
  }

  /** The message of a callback whose PENDING is stored; undefined when there is nothing to publish. */
  async #prepare(
    callback: Sendable,
    state: TaskState | undefined,
    sentAt: string | undefined,
  ): Promise<Message | undefined> {
    if (state !== undefined && state.state !== 'PENDING') return undefined;
    const { sender } = this.#engine;
    const message = sender.encode(state === undefined ? callback : sentWhen(callback, state));
    if (message instanceof MachineryError) return this.#cannotBeSent(callback, message, sentAt);
    if (state !== undefined) return message; // its PENDING is there, and may be news of a task that is out
    const pending = await this.#persistence.persist(() => sender.storePending(callback, message.dueAtMs));
    return pending.status === 'failed' ? this.#cannotBeSent(callback, pending.error, sentAt) : message;
  }

  async #cannotBeSent(callback: Sendable, error: Error, sentAt: string | undefined): Promise<undefined> {
    const text = `Callback ${callback.name} (${callback.uuid}) can never be sent and is marked as failed: ${errorText(error)}`;
    this.#engine.logger.error(text, error);
    await this.#fail(callback, error.message, sentAt);
  }

  /** A callback that will never run is a FAILURE; its own error callbacks are told, and what was to come after it fails. */
  async #fail(callback: Signature, error: string, sentAt: string | undefined): Promise<void> {
    const sendable = this.#engine.sender.complete(callback, sentAt);
    const [state] = await this.#statesOf([sendable], sentAt);
    if (state !== undefined && isFinal(state.state)) return; // by another member, or before a crash
    await this.failed(sendable, error, { again: true, sentAt }); // first: FAILURE says that all is done
    await this.#storeFailure(sendable, error, sendable.headers?.[header.sentAt] as string);
  }

  /** What was to come after a task that failed: members that will never run fail, and so does the chord that waits for them. */
  async #failGroups(
    groups: ReadonlyMap<string, readonly Named[]>,
    failed: Named,
    error: string,
    sentAt: string | undefined,
  ): Promise<void> {
    const what = `Task ${failed.name} (${failed.uuid})`;
    for (const members of groups.values()) {
      await Promise.all(
        members.map((member) =>
          member === failed ? undefined : this.#storeFailure(member, `${what} before it failed: ${error}`, undefined),
        ),
      );
      await this.chords.memberFailed(members[0] as Named, `${what} failed: ${error}`, sentAt);
    }
  }

  #storeFailure(task: Named, error: string, createdAt: string | undefined): Promise<Error | undefined> {
    return this.#persistence.storeWithError({
      taskUuid: task.uuid,
      taskName: task.name,
      state: 'FAILURE',
      error,
      ...(createdAt !== undefined && { createdAt }),
    });
  }

  /** Go only knows groups that a client sends: the metas of those that begin later are stored then, and may have expired. */
  async #initGroups(callbacks: readonly Sendable[], again: boolean): Promise<void> {
    if (callbacks.every(({ groupUuid }) => groupUuid === undefined)) return;
    const { backend, sender } = this.#engine;
    const begins = new Set<Named>(callbacks);
    for (const [groupUuid, members] of membersOf(callbacks)) {
      if (members.length !== members[0]?.groupTaskCount || !members.some((member) => begins.has(member))) continue;
      await this.#persistence.untilDone('written to', async () => {
        if (again && (await backend.readGroup(groupUuid)) !== undefined) return;
        await backend.initGroup(
          newGroupMeta(
            groupUuid,
            members.map(({ uuid }) => uuid),
          ),
          sender.expiresInSeconds(undefined),
        );
      });
    }
  }
}

/** Success callbacks get the results as their last arguments, unless the finished task is immutable. */
function successCallbacks(signature: Named, results: readonly TaskResult[]): Signature[] {
  const appended: readonly Arg[] = signature.immutable === true ? [] : results;
  return (signature.onSuccess ?? []).map((callback, i) => ({
    ...callback,
    uuid: callback.uuid || derivedUuid(`${signature.uuid}/success/${i}`),
    args: [...(callback.args ?? []), ...appended],
  }));
}

/** Error callbacks get the error's text as their first argument. */
function errorCallbacks(signature: Named, error: string): Signature[] {
  return (signature.onError ?? []).map((callback, i) => ({
    ...callback,
    uuid: callback.uuid || derivedUuid(`${signature.uuid}/error/${i}`),
    args: [{ type: 'string', value: error }, ...(callback.args ?? [])],
  }));
}

/** The members of groups among the tasks and what follows their success, by group. */
function membersOf(tasks: readonly Signature[], found = new Map<string, Named[]>()): Map<string, Named[]> {
  for (const task of tasks) {
    if (task.groupUuid && task.uuid) {
      const members = found.get(task.groupUuid);
      if (members === undefined) found.set(task.groupUuid, [task as Named]);
      else members.push(task as Named);
    }
    if (task.onSuccess !== undefined) membersOf(task.onSuccess, found);
  }
  return found;
}

/** The message says what its PENDING says: they are one send. */
function sentWhen(callback: Sendable, { createdAt }: TaskState): Sendable {
  return createdAt === undefined
    ? callback
    : { ...callback, headers: { ...callback.headers, [header.sentAt]: createdAt } };
}
