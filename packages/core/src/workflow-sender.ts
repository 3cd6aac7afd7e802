// The way of a workflow into the broker. All messages are encoded first, so that what can never be sent is refused while
// nothing has happened; then come the metas of all groups, each PENDING, and last the messages that begin it.

import { sharedAbortController } from './backoff.ts';
import type { Message } from './broker.ts';
import { completesChords } from './chords.ts';
import type { Engine } from './engine.ts';
import { GroupSendError, MachineryError, NotSupportedError } from './errors.ts';
import { FollowUps } from './follow-ups.ts';
import { header } from './headers.ts';
import { failed, type Outcome } from './outcome.ts';
import { Persistence } from './persistence.ts';
import type { GroupPlan } from './plan.ts';
import { type Sendable, sendAborted } from './sender.ts';
import { sentAtOf } from './sent-at.ts';
import type { Signature } from './signature.ts';
import { newGroupMeta } from './task-state.ts';
import { etaMs } from './wire/time.ts';

export interface WorkflowOptions {
  /** How many messages may be on their way to the broker at once. Default: as many as a batch holds. */
  readonly sendConcurrency?: number;
  /** Do not send any more when this has fired. What is published stays published; the other members of a group fail. */
  readonly signal?: AbortSignal;
}

const batchSize = 1_000;
/** How long a send that has failed may take to tell the rest of its group, in milliseconds. */
const tellingMs = 5_000;

/**
 * Publishes a workflow. Resolves when the broker has all that begins it.
 * @throws GroupSendError when a group was published in part, or not at all; what `Server.send` throws otherwise: then nothing was published.
 */
export async function sendWorkflow(
  engine: Engine,
  entries: readonly Sendable[],
  groups: Groups,
  options: WorkflowOptions,
): Promise<void> {
  checkSupport(engine, entries, groups);
  const messages = entries.map((entry) => accepted(engine.sender.encode(entry)));
  await storeGroups(engine, groups, entries, messages);
  const outcomes = await publishAll(engine, messages, options);
  if (outcomes.every(({ status }) => status === 'stored')) return;
  const unsent = await unsentTasks(engine, entries, outcomes);
  if (unsent.length === 0) return;
  const [first] = unsent as [Unsent];
  if (groups.groups.length === 0) throw first.error;
  const notSent = new Set(unsent.map(({ task }) => task));
  const sent = entries.filter((entry) => !notSent.has(entry));
  const notMarked = await markUnsent(engine, unsent, sent.length > 0);
  throw new GroupSendError(
    sent.map(identity),
    unsent.map(({ task, error }) => ({ ...identity(task), error })),
    notMarked,
  );
}

interface Groups {
  readonly groups: readonly GroupPlan[];
  readonly hasChords: boolean;
}

interface Unsent {
  readonly task: Sendable;
  readonly error: Error;
}

function checkSupport(
  { backend, clock, results, sender }: Engine,
  entries: readonly Sendable[],
  { groups, hasChords }: Groups,
): void {
  const { maxGroupSize = Number.POSITIVE_INFINITY } = backend.capabilities;
  if (hasChords && !completesChords({ backend, results })) throw new NotSupportedError(backend.name, 'chords');
  for (const { members } of groups) {
    if (members.length > maxGroupSize)
      throw new NotSupportedError(backend.name, `groups of ${members.length} tasks: ${maxGroupSize} is the most`);
  }
  if (!hasChords || results.mayRead) return;
  const seconds = sender.expiresInSeconds(undefined);
  if (dueApartMs(entries, clock.now()) <= seconds * 1_000) return;
  const text = `chords of tasks that are due more than ${seconds} s apart: the states of the first would expire before the last one ends`;
  throw new NotSupportedError(backend.name, text);
}

/** How much later than the first of them the last one may begin, in milliseconds. */
function dueApartMs(tasks: readonly Signature[], now: number): number {
  const due = tasks.map(({ eta }) => (eta === undefined ? now : Math.max(now, etaMs(eta)))).toSorted((a, b) => a - b);
  return (due.at(-1) ?? 0) - (due[0] ?? 0);
}

function accepted(message: Message | MachineryError): Message {
  if (message instanceof MachineryError) throw message;
  return message;
}

async function storeGroups(
  { backend, sender }: Engine,
  { groups }: Groups,
  entries: readonly Sendable[],
  messages: readonly Message[],
): Promise<void> {
  const dueAtMs = messages.reduce((latest, message) => Math.max(latest, message.dueAtMs ?? 0), 0);
  const expiresInSeconds = sender.expiresInSeconds(dueAtMs);
  const [first] = entries;
  const sentAt = (first && sentAtOf(first)) ?? sender.now();
  const metas = groups.map(({ groupUuid, members }) => {
    const uuids = members.map(({ uuid }) => uuid);
    return newGroupMeta(groupUuid, uuids, sentAt);
  });
  if (backend.capabilities.storesResults)
    await Promise.all(metas.map((meta) => backend.initGroup(meta, expiresInSeconds)));
  const begun = new Set(entries.map(({ uuid }) => uuid));
  // A UUID that the user gave may hold another time: that of a send before.
  const headers = { [header.sentAt]: sender.now() };
  const later = groups.flatMap(({ members }) =>
    members.filter(({ uuid }) => !begun.has(uuid)).map(({ uuid, name }) => ({ uuid, name, headers })),
  );
  for (const some of slices([...entries, ...later])) {
    const pending = await Promise.all(some.map((task) => sender.storePending(task, dueAtMs)));
    for (const outcome of pending) if (outcome.status !== 'stored') throw outcome.error;
  }
}

async function publishAll(
  { sender }: Engine,
  messages: readonly Message[],
  { sendConcurrency, signal }: WorkflowOptions,
): Promise<Outcome[]> {
  const publish = (message: Message): Outcome | Promise<Outcome> =>
    signal?.aborted ? failed(sendAborted(message.signature, signal), false) : sender.publish(message);
  const outcomes: Outcome[] = [];
  if (sendConcurrency === undefined) {
    for (const some of slices(messages)) outcomes.push(...(await Promise.all(some.map(publish))));
    return outcomes;
  }
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < messages.length; i = next++) outcomes[i] = await publish(messages[i] as Message);
  };
  await Promise.all(Array.from({ length: Math.min(sendConcurrency, messages.length) }, lane));
  return outcomes;
}

/** One batch after another: as many go at once as a batch holds anyway, and a large group needs less memory so. */
function* slices<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let i = 0; i < items.length; i += batchSize) yield items.slice(i, i + batchSize);
}

/** What the broker does not have. Of a message that may be out, a state beyond PENDING tells that it is. */
async function unsentTasks(
  { results }: Engine,
  entries: readonly Sendable[],
  outcomes: readonly Outcome[],
): Promise<Unsent[]> {
  const unsent = await Promise.all(
    outcomes.map(async (outcome, i) => {
      const task = entries[i] as Sendable;
      if (outcome.status === 'stored') return [];
      if (outcome.status === 'failed') return [{ task, error: outcome.error }];
      const state = results.mayRead ? await results.read(task.uuid).catch(() => undefined) : undefined;
      if (state !== undefined && state.state !== 'PENDING') return [];
      const text = `Task ${task.name} (${task.uuid}) may or may not have been published: ${outcome.error.message}`;
      return [{ task, error: new MachineryError('ERR_MACHINERY_PUBLISH_UNKNOWN', text, { cause: outcome.error }) }];
    }),
  );
  return unsent.flat();
}

/** Members that were not published are FAILURE, so that the members that were can fail the chord. Answers why it did not succeed. */
async function markUnsent(engine: Engine, unsent: readonly Unsent[], othersRun: boolean): Promise<unknown> {
  const tooLong = sharedAbortController();
  const timer = setTimeout(() => tooLong.abort(new Error(`It took longer than ${tellingMs} ms`)), tellingMs);
  const followUps = new FollowUps(
    engine,
    new Persistence(engine, 'members of a group that was sent in part', tooLong.signal),
  );
  try {
    await Promise.all(
      unsent.map(({ task, error }) => followUps.unsent(task, `It was not published: ${error.message}`, othersRun)),
    );
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

function identity({ name, uuid }: Sendable): { readonly name: string; readonly uuid: string } {
  return { name, uuid };
}
