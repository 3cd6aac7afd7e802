// The way of a signature into the broker: completed, PENDING written, encoded, published, all in batches. Used by the
// server for what users send and by the worker for callbacks and retries. Nothing here tries again: callers decide.

import type { Backend, StateWrite } from './backend.ts';
import { Batcher } from './batcher.ts';
import type { Broker, Message, Send } from './broker.ts';
import type { Clock } from './clock.ts';
import { errorText, MachineryError } from './errors.ts';
import { header } from './headers.ts';
import { invalidOption } from './options.ts';
import { failed, type Outcome } from './outcome.ts';
import { sentAtOf } from './sent-at.ts';
import type { Signature } from './signature.ts';
import type { StateWriter } from './state-writer.ts';
import { isAfter } from './task-state.ts';
import type { SafeTelemetry, Sending } from './telemetry.ts';
import { isSendTime, newSendUuid, newUuid } from './uuid.ts';
import { checkSignature } from './validation.ts';
import { encodeChordCallback, encodeSignature } from './wire/signature-codec.ts';
import { encodeTime, etaMs, lastTimeMs } from './wire/time.ts';

/** A signature that names its state. */
export interface Named extends Signature {
  readonly uuid: string;
}

/** A signature that has been completed for sending. */
export interface Sendable extends Named {
  readonly routingKey: string;
}

/** Sees every signature before it is published; what it answers, if anything, is sent in its place under the same UUID. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler that only looks returns nothing
export type PrePublishHandler = (signature: Signature) => Signature | undefined | void;

export interface SenderOptions {
  readonly broker: Broker;
  readonly backend: Backend;
  readonly clock: Clock;
  readonly states: StateWriter;
  readonly defaultQueue: string;
  /** Asked each time. */
  readonly resultsExpireInSeconds: () => number;
  readonly telemetry: SafeTelemetry;
  /** See ServerOptions. */
  readonly prePublishHandler: PrePublishHandler | undefined;
}

/** Of many sends at once, so many are on their way while the next are made. */
const sendsAtOnce = 250;

export class Sender {
  readonly #options: SenderOptions;
  readonly #publishes: Batcher<Message, Outcome>;
  /** Where broker and backend do both in one step. */
  readonly #sends: Batcher<AbortableSend, Outcome> | undefined;
  readonly #defaultRoutingKey: string;
  #lastNow = { time: 0, text: '' };
  #encoded: { readonly callback: Signature; readonly text: string } | undefined;

  constructor(options: SenderOptions) {
    const { broker, backend, defaultQueue } = options;
    this.#options = options;
    this.#defaultRoutingKey = broker.defaultRoutingKey?.(defaultQueue) ?? defaultQueue;
    const { maxPublishBatch: maxItems, eager: unbatched } = broker.capabilities;
    const settings = { maxItems, unbatched, faultOf: 'broker' } as const;
    // A call that rejects says nothing of its messages: they may be out.
    const failure = (error: Error): Outcome => ({ status: 'unknown', error });
    this.#publishes = new Batcher((messages) => broker.publish(messages), settings, failure);
    const sending = backend.capabilities.storesResults ? broker.sendingWith?.(backend) : undefined;
    const overlapping = { ...settings, overlapAt: sendsAtOnce };
    this.#sends = sending && new Batcher((sends) => unlessAborted(sends, sending), overlapping, failure);
  }

  /**
   * A copy that can be sent: with a UUID, callbacks included, a routing key, and the time of sending. `after` is the time
   * of sending of what it follows: clocks differ, and a follow-up that is not later is one of an earlier send.
   */
  complete(signature: Signature, after?: string): Sendable {
    const now = this.#options.clock.now();
    // A UUID that is made now holds the time, which saves a header, unless nobody would believe this clock.
    if (!signature.uuid && after === undefined && isSendTime(now))
      return this.#complete(withUuids(signature, newSendUuid('task', now)), signature, undefined);
    return this.#complete(withUuids(signature), signature, this.#timeAfter(after));
  }

  /** The same of a draft that has all its UUIDs: it is changed itself, and its callbacks are shared. */
  completeDraft(draft: Draft): Sendable {
    return this.#complete(draft, draft as Signature, this.now());
  }

  #timeAfter(time: string | undefined): string {
    const now = this.now();
    return time === undefined || isAfter({ createdAt: now }, time) ? now : justAfter(time);
  }

  /** @param sentAt undefined: the UUID holds it. */
  #complete(draft: Draft, signature: Signature, sentAt: string | undefined): Sendable {
    draft.routingKey ||= this.#defaultRoutingKey;
    draft.eta &&= encodeTime(draft.eta);
    const { [header.attempt]: _, ...headers } = signature.headers ?? {}; // whatever it was before, this is a first attempt
    draft.headers = withSentAt(headers, sentAt);
    return draft as Sendable;
  }

  /** Lets `publish` send what goes together, as telemetry wants it: with its headers, and something around it. */
  traced<T>(
    signatures: readonly Sendable[],
    about: Omit<Sending, 'signatures' | 'broker'>,
    publish: (signatures: readonly Sendable[]) => Promise<T>,
  ): Promise<T> {
    const { telemetry } = this.#options;
    if (!telemetry.seesSends) return publish(signatures);
    return telemetry.runSend({ ...about, signatures }, () => publish(this.#withHeaders(signatures)));
  }

  /** The same with telemetry's headers, which all callbacks in them get, too. What several of them share stays shared. */
  #withHeaders(signatures: readonly Sendable[]): readonly Sendable[] {
    const { telemetry } = this.#options;
    const done = new Map<Signature, Signature>();
    const inject = <T extends Signature>(signature: T): T => {
      const before = done.get(signature);
      if (before !== undefined) return before as T;
      const draft = draftOf(signature);
      const headers = { ...signature.headers, ...telemetry.injectHeaders(signature) };
      draft.headers = withSentAt(headers, signature.headers?.[header.sentAt]);
      draft.onSuccess = signature.onSuccess?.map(inject);
      draft.onError = signature.onError?.map(inject);
      draft.chordCallback = signature.chordCallback && inject(signature.chordCallback);
      done.set(signature, draft as Signature);
      return draft as T;
    };
    return signatures.map(inject);
  }

  /** Writes PENDING and publishes. `failed` and `unknown` say that nothing, or perhaps something, was published. */
  send(signature: Sendable, signal?: AbortSignal): Promise<Outcome> {
    const message = this.encode(signature);
    if (message instanceof MachineryError) return Promise.resolve(failed(message, false));
    if (this.#sends === undefined) return this.#sendInTwoSteps(message, signature, signal);
    const sent = this.#sends.add({ message, pending: this.#pending(signature, message.dueAtMs), signal });
    return this.#options.telemetry.records ? sent.then((outcome) => this.#recorded(message, outcome)) : sent;
  }

  async #sendInTwoSteps(message: Message, signature: Sendable, signal: AbortSignal | undefined): Promise<Outcome> {
    const pending = await this.storePending(signature, message.dueAtMs);
    if (pending.status !== 'stored')
      return { status: 'failed', error: pending.error, retryable: pending.status === 'unknown' || pending.retryable };
    if (signal?.aborted) return failed(sendAborted(signature, signal), false);
    return this.publish(message);
  }

  /** Publishes without touching the state: a retry, or a callback whose PENDING is there. */
  async republish(signature: Sendable): Promise<Outcome> {
    const message = this.encode(signature);
    return message instanceof MachineryError ? failed(message, false) : this.publish(message);
  }

  /** Writes PENDING; its time is the one that the message says, or now. */
  storePending(task: Pick<Named, 'uuid' | 'name' | 'headers'>, dueAtMs?: number): Promise<Outcome> {
    return this.#options.states.write(this.#pending(task, dueAtMs));
  }

  #pending(task: Pick<Named, 'uuid' | 'name' | 'headers'>, dueAtMs?: number): StateWrite {
    const createdAt = sentAtOf(task) ?? this.now();
    return {
      state: { taskUuid: task.uuid, taskName: task.name, state: 'PENDING', createdAt },
      expiresInSeconds: this.expiresInSeconds(dueAtMs),
    };
  }

  /** The message, or why the broker could never take it. */
  encode(signature: Sendable): Message | MachineryError {
    try {
      return this.#encode(this.#handled(signature));
    } catch (error) {
      if (error instanceof MachineryError) return error;
      const text = `Task ${signature.name} (${signature.uuid}) cannot be sent: ${errorText(error)}`;
      return new MachineryError('ERR_MACHINERY_INVALID_SIGNATURE', text, { cause: error });
    }
  }

  publish(message: Message): Promise<Outcome> {
    const published = this.#publishes.add(message);
    return this.#options.telemetry.records ? published.then((outcome) => this.#recorded(message, outcome)) : published;
  }

  #recorded({ signature }: Message, outcome: Outcome): Outcome {
    if (outcome.status === 'stored') this.#options.telemetry.record('task.sent', 1, signature);
    return outcome;
  }

  /** How long a state is kept: its expiry counts from the ETA, when there is one. */
  expiresInSeconds(dueAtMs: number | undefined): number {
    const waitSeconds =
      dueAtMs === undefined ? 0 : Math.max(0, Math.ceil((dueAtMs - this.#options.clock.now()) / 1_000));
    return this.#options.resultsExpireInSeconds() + waitSeconds;
  }

  async settled(): Promise<void> {
    await Promise.all([this.#publishes.settled(), this.#sends?.settled()]);
  }

  /** The time as it comes back from the state's CreatedAt; formatted once for a millisecond. */
  now(): string {
    const time = this.#options.clock.now();
    if (time !== this.#lastNow.time) this.#lastNow = { time, text: encodeTime(new Date(time)) };
    return this.#lastNow.text;
  }

  #handled(signature: Sendable): Sendable {
    const answer = this.#options.prePublishHandler?.(signature);
    if (answer === undefined) return signature;
    if (answer instanceof Promise) throw invalidOption('prePublishHandler must answer at once, got a promise');
    const handled = checkSignature(answer);
    const { uuid, routingKey } = signature;
    const headers = withSentAt({ ...signature.headers, ...handled.headers }, signature.headers?.[header.sentAt]);
    return { ...signature, ...handled, uuid, routingKey: handled.routingKey || routingKey, headers } as Sendable;
  }

  /** The callback of a chord is encoded once for all its members. */
  #callbackText(callback: Signature | undefined): string | undefined {
    if (callback === undefined) return undefined;
    if (this.#encoded?.callback !== callback) this.#encoded = { callback, text: encodeChordCallback(callback) };
    return this.#encoded.text;
  }

  #encode(signature: Sendable): Message {
    const { name, uuid, routingKey, eta } = signature;
    const { capabilities, name: broker } = this.#options.broker;
    const { maxMessageBytes = Number.POSITIVE_INFINITY, maxDelayMs = Number.POSITIVE_INFINITY } = capabilities;
    const body = encodeSignature(signature, this.#callbackText(signature.chordCallback));
    // A character has 3 bytes at most: short bodies need not be measured.
    const bytes = body.length * 3 > maxMessageBytes ? Buffer.byteLength(body) : 0;
    if (bytes > maxMessageBytes)
      throw new MachineryError(
        'ERR_MACHINERY_MESSAGE_TOO_LARGE',
        `Task ${name} (${uuid}) is a message of ${bytes} bytes, ${broker} takes ${maxMessageBytes}`,
      );
    if (eta === undefined) return { body, routingKey, signature };
    const dueAtMs = etaMs(eta);
    if (dueAtMs - this.#options.clock.now() > maxDelayMs)
      throw new MachineryError(
        'ERR_MACHINERY_NOT_SUPPORTED',
        `Task ${name} (${uuid}) has the ETA ${encodeTime(eta)}: ${broker} delays by ${maxDelayMs} ms at most`,
      );
    return { body, routingKey, dueAtMs, signature };
  }
}

/** The headers with this time of sending, or with none; undefined when that leaves none at all. */
function withSentAt(headers: Readonly<Record<string, unknown>>, sentAt: unknown): Signature['headers'] {
  const { [header.sentAt]: _, ...others } = headers;
  if (sentAt !== undefined) return { ...others, [header.sentAt]: sentAt };
  return Object.keys(others).length === 0 ? undefined : others;
}

/** The next millisecond, as far as times reach. */
function justAfter(time: string): string {
  return encodeTime(new Date(Math.min(Date.parse(time) + 1, lastTimeMs)));
}

interface AbortableSend extends Send {
  readonly signal: AbortSignal | undefined;
}

/** Sends all whose signals have not fired by now. */
function unlessAborted(
  sends: readonly AbortableSend[],
  sending: (sends: readonly Send[]) => Promise<Outcome[]>,
): Promise<Outcome[]> {
  return sends.some(({ signal }) => signal?.aborted) ? sendOthers(sends, sending) : sending(sends);
}

async function sendOthers(
  sends: readonly AbortableSend[],
  sending: (sends: readonly Send[]) => Promise<Outcome[]>,
): Promise<Outcome[]> {
  const wanted = new Set(sends.filter(({ signal }) => !signal?.aborted));
  const outcomes = wanted.size === 0 ? [] : await sending([...wanted]);
  let next = 0;
  return sends.map((send) => {
    const { message, signal } = send;
    return wanted.has(send)
      ? (outcomes[next++] as Outcome)
      : failed(sendAborted(message.signature, signal as AbortSignal), false);
  });
}

export function sendAborted({ name }: Signature, { reason }: AbortSignal): MachineryError {
  return new MachineryError('ERR_MACHINERY_ABORTED', `Sending task ${name} was aborted`, { cause: reason });
}

/** A signature in the making. */
export type Draft = { -readonly [Field in keyof Signature]: Signature[Field] | undefined };

/** A copy with UUIDs for the task and all its callbacks, so that their results can be asked for before they are sent. */
export function withUuids(signature: Signature, uuid = signature.uuid || newUuid('task')): Draft {
  const draft = draftOf(signature);
  draft.uuid = uuid;
  const { onSuccess, onError, chordCallback } = signature;
  if (onSuccess !== undefined) draft.onSuccess = onSuccess.map((callback) => withUuids(callback)) as Signature[];
  if (onError !== undefined) draft.onError = onError.map((callback) => withUuids(callback)) as Signature[];
  if (chordCallback !== undefined) draft.chordCallback = withUuids(chordCallback) as Signature;
  return draft;
}

/** Written out, as all copies then have one shape: copying and encoding them takes a third of the time (Node 20) that spreading takes. */
export function draftOf(signature: Signature): Draft {
  return {
    uuid: signature.uuid,
    name: signature.name,
    routingKey: signature.routingKey,
    eta: signature.eta,
    groupUuid: signature.groupUuid,
    groupTaskCount: signature.groupTaskCount,
    args: signature.args,
    headers: signature.headers,
    priority: signature.priority,
    immutable: signature.immutable,
    retryCount: signature.retryCount,
    retryTimeout: signature.retryTimeout,
    onSuccess: signature.onSuccess,
    onError: signature.onError,
    chordCallback: signature.chordCallback,
    brokerMessageGroupId: signature.brokerMessageGroupId,
    sqsReceiptHandle: signature.sqsReceiptHandle,
    stopTaskDeletionOnError: signature.stopTaskDeletionOnError,
    ignoreWhenTaskNotRegistered: signature.ignoreWhenTaskNotRegistered,
  };
}
