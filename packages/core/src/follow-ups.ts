// What is sent when a task has ended: its success or error callbacks, and the callback of a chord that it completes or
// fails (`chords.ts`). All of it is published before the task's message is acked, so that a workflow never ends silently.
//
// Invariant: a redelivery of the task finds what went out before, by its UUID, and sends only what is missing.

import type { Message } from './broker.ts';
import { Chords, completesChords, isChordMember } from './chords.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError, mayPass } from './errors.ts';
import { header } from './headers.ts';
import type { Persistence } from './persistence.ts';
import type { Named, Sendable } from './sender.ts';
import { sentAtOf } from './sent-at.ts';
import type { Arg, Signature } from './signature.ts';
import { isAfter, isFinal, newGroupMeta, type TaskResult, type TaskState } from './task-state.ts';
import { derivedUuid } from './uuid.ts';
import { etaMs } from './wire/time.ts';

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
      send: (member, callback, sentAt) => this.#send(member, [callback], { again: true, sentAt }),
      fail: (callback, error, sentAt) => this.#fail(callback, error, sentAt),
    });
  }

  /** Sends what a success sets off; undefined: there is nothing. Never rejects but when the worker stops at once. */
  succeeded(signature: Sendable, results: readonly TaskResult[], ending: Ending): Promise<void> | undefined {
    const callbacks = successCallbacks(signature, results);
    const sent = callbacks.length === 0 ? undefined : this.#send(signature, callbacks, ending);
    if (!isChordMember(signature)) return sent;
    if (sent === undefined) return this.chords.memberSucceeded(signature, results, ending);
    return sent.then(() => this.chords.memberSucceeded(signature, results, ending));
  }

  /** Sends what the last failure sets off, and fails the chords that cannot be completed any more; undefined: there is nothing. */
  failed(signature: Named, error: string, ending: Ending): Promise<void> | undefined {
    const callbacks = errorCallbacks(signature, error);
    const groups = membersOf([signature]);
    if (groups.size === 0) return callbacks.length === 0 ? undefined : this.#send(signature, callbacks, ending);
    return this.#send(signature, callbacks, ending).then(() =>
      this.#failGroups(groups, signature, error, ending.sentAt),
    );
  }

  /** A task that is dropped without having run: the chords that wait for it, or for what was to come after it, fail. */
  async dropped(signature: Named, error: string): Promise<void> {
    if (membersOf([signature]).size > 0) await this.unsent(signature, error, true);
  }

  /**
   * Marks a task that never runs as failed, with what was to come after it, and fails the chords that others still work
   * for. Its error callbacks are not sent. No claim is taken, as there is no message that could take it over: so the
   * callback fails first, and whoever finds a member failed finds that done.
   */
  async unsent(signature: Named, error: string, othersRun: boolean): Promise<void> {
    const sentAt = sentAtOf(signature);
    const groups = [...membersOf([signature]).values()];
    if (othersRun) {
      const text = `Task ${signature.name} (${signature.uuid}) failed: ${error}`;
      await Promise.all(groups.map(([member]) => this.chords.unsentMember(member as Named, text, sentAt)));
    }
    await this.#storeFailure(signature, error, sentAt);
    await this.#failMembers(groups.flat(), signature, error);
  }

  /**
   * Sends callbacks: the metas of whole groups first, then each PENDING, then the messages, so that a member that is fast
   * finds the others.
   * @param after the task that sets them off.
   */
  async #send(after: Named, callbacks: readonly Signature[], ending: Ending): Promise<void> {
    if (callbacks.length === 0) return;
    const { sender } = this.#engine;
    const completed = callbacks.map((callback) => sender.complete(callback, ending.sentAt));
    await sender.traced(completed, { kind: 'callbacks', after }, (sendables) => this.#publish(sendables, ending));
  }

  async #publish(sendables: readonly Sendable[], { again, sentAt }: Ending): Promise<void> {
    const { sender } = this.#engine;
    const states = again ? await this.#statesOf(sendables, sentAt) : [];
    if (completesChords(this.#engine)) await this.#initGroups(sendables, again || !this.#persistence.mayRead);
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
    return states.map((state) => (state === undefined || isAfter(state, sentAt) ? state : undefined));
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
    await this.#storeFailure(sendable, error, sentAtOf(sendable));
  }

  /** What was to come after a task that failed: members that will never run fail, and so does the chord that waits for them. */
  async #failGroups(
    groups: ReadonlyMap<string, readonly Named[]>,
    failed: Named,
    error: string,
    sentAt: string | undefined,
  ): Promise<void> {
    const text = `Task ${failed.name} (${failed.uuid}) failed: ${error}`;
    for (const members of groups.values()) {
      await this.#failMembers(members, failed, error);
      await this.chords.memberFailed(members[0] as Named, text, sentAt);
    }
  }

  async #failMembers(members: readonly Named[], failed: Named, error: string): Promise<void> {
    const text = `Task ${failed.name} (${failed.uuid}) before it failed: ${error}`;
    const never = members.filter((member) => member !== failed);
    await Promise.all(never.map((member) => this.#storeFailure(member, text, undefined)));
  }

  #storeFailure(task: Named, error: string, createdAt: string | undefined): Promise<Error | undefined> {
    return this.#persistence.storeWithError(task, {
      taskUuid: task.uuid,
      taskName: task.name,
      state: 'FAILURE',
      error,
      ...(createdAt !== undefined && { createdAt }),
    });
  }

  /**
   * Stores the metas of groups that begin later than what was sent: Go only knows groups that a client sends, so they were
   * stored then, and may have expired.
   */
  async #initGroups(callbacks: readonly Sendable[], again: boolean): Promise<void> {
    const { backend, sender, logger } = this.#engine;
    const begins = new Set<Named>(callbacks);
    for (const [groupUuid, members] of membersOf(callbacks, true)) {
      if (members.length !== members[0]?.groupTaskCount) continue;
      const dueAtMs = members.reduce((latest, { eta }) => Math.max(latest, eta === undefined ? 0 : etaMs(eta)), 0);
      const meta = newGroupMeta(
        groupUuid,
        members.map(({ uuid }) => uuid),
        sentAtOf(callbacks[0] as Sendable) as string,
      );
      const init = async () => {
        const mayBeThere = again || !members.every((member) => begins.has(member));
        if (mayBeThere && (await backend.readGroup(groupUuid)) !== undefined) return;
        await backend.initGroup(meta, sender.expiresInSeconds(dueAtMs));
      };
      await this.#persistence.untilDone('written to', () =>
        init().catch((error) => {
          if (mayPass(error)) throw error;
          logger.error(`The meta of group ${groupUuid} cannot be stored again: ${errorText(error)}`, error);
        }),
      );
    }
  }
}

/** Whether anything follows the success of a task. */
export function hasFollowUps(signature: Signature): boolean {
  return (signature.onSuccess !== undefined && signature.onSuccess.length > 0) || isChordMember(signature);
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

/**
 * The members of groups among the tasks and what follows their success, by group. `callbacks`: also the groups of which a
 * chord's callback is a member.
 */
function membersOf(
  tasks: readonly Signature[],
  callbacks = false,
  found = new Map<string, Named[]>(),
): Map<string, Named[]> {
  for (const task of tasks) {
    const { uuid, groupUuid, chordCallback, onSuccess } = task;
    const members = groupUuid ? found.get(groupUuid) : undefined;
    if (members !== undefined && uuid) members.push(task as Named);
    else if (groupUuid && uuid) {
      found.set(groupUuid, [task as Named]);
      if (callbacks && chordCallback !== undefined) membersOf([chordCallback], callbacks, found); // the others have the same
    }
    if (onSuccess !== undefined) membersOf(onSuccess, callbacks, found);
  }
  return found;
}

/** The message says what its PENDING says: they are one send. */
function sentWhen(callback: Sendable, { createdAt }: TaskState): Sendable {
  return createdAt === undefined
    ? callback
    : { ...callback, headers: { ...callback.headers, [header.sentAt]: createdAt } };
}
