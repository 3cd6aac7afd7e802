// The way of a signature into the broker: completed, PENDING written, encoded, published, all in batches. Used by the
// server for what users send and by the worker for callbacks and retries. Nothing here tries again: callers decide.

import { randomUUID } from 'node:crypto';
import { Batcher } from './batcher.ts';
import type { Broker, Message } from './broker.ts';
import { MachineryError } from './errors.ts';
import { header } from './headers.ts';
import { failed, type Outcome } from './outcome.ts';
import type { Signature } from './signature.ts';
import type { StateWriter } from './state-writer.ts';
import type { Telemetry } from './telemetry.ts';
import { encodeSignature } from './wire/signature-codec.ts';
import { encodeTime, etaMs } from './wire/time.ts';

/** A signature that has been completed for sending. */
export interface Sendable extends Signature {
  readonly uuid: string;
  readonly routingKey: string;
}

export interface SenderOptions {
  readonly broker: Broker;
  readonly states: StateWriter;
  readonly defaultQueue: string;
  readonly resultsExpireInSeconds: number;
  readonly telemetry: Telemetry;
  /** See ServerOptions. */
  readonly prePublishHandler: ((signature: Signature) => Signature | undefined | void) | undefined;
}

export class Sender {
  readonly #options: SenderOptions;
  readonly #publishes: Batcher<Message, Outcome>;
  readonly #defaultRoutingKey: string;

  constructor(options: SenderOptions) {
    const { broker, defaultQueue } = options;
    this.#options = options;
    this.#defaultRoutingKey = broker.defaultRoutingKey?.(defaultQueue) ?? defaultQueue;
    this.#publishes = new Batcher((messages) => broker.publish(messages), { maxItems: broker.capabilities.maxPublishBatch, unbatched: broker.capabilities.eager });
  }

  /** A copy that can be sent: with a UUID, callbacks included, a routing key, and the time of sending. */
  complete(signature: Signature, eta: Date | string | undefined = signature.eta): Sendable {
    const { onSuccess, onError, chordCallback } = signature;
    return {
      ...signature,
      uuid: signature.uuid || newTaskUuid(),
      routingKey: signature.routingKey || this.#defaultRoutingKey,
      ...(eta !== undefined && { eta: encodeTime(eta) }),
      headers: { ...signature.headers, ...this.#options.telemetry.injectHeaders?.(signature), [header.sentAt]: new Date().toISOString() },
      ...(onSuccess !== undefined && { onSuccess: onSuccess.map(withUuids) }),
      ...(onError !== undefined && { onError: onError.map(withUuids) }),
      ...(chordCallback !== undefined && { chordCallback: withUuids(chordCallback) }),
    };
  }

  /** Writes PENDING and publishes. `failed` and `unknown` say that nothing, or perhaps something, was published. */
  async send(signature: Sendable): Promise<Outcome> {
    const message = this.#message(signature);
    if (message instanceof Error) return failed(message, false);
    const pending = await this.#options.states.write({
      state: { taskUuid: signature.uuid, taskName: signature.name, state: 'PENDING', createdAt: signature.headers?.[header.sentAt] as string },
      expiresInSeconds: this.expiresInSeconds(message.dueAtMs),
    });
    if (pending.status !== 'stored') return { status: 'failed', error: pending.error, retryable: pending.status === 'unknown' || pending.retryable };
    return this.#publish(message);
  }

  /** Publishes without touching the state: a retry, or a callback whose PENDING is there. */
  async republish(signature: Sendable): Promise<Outcome> {
    const message = this.#message(signature);
    return message instanceof Error ? failed(message, false) : this.#publish(message);
  }

  /** How long a state is kept: its expiry counts from the ETA, when there is one. */
  expiresInSeconds(dueAtMs: number | undefined): number {
    const waitSeconds = dueAtMs === undefined ? 0 : Math.max(0, Math.ceil((dueAtMs - Date.now()) / 1_000));
    return this.#options.resultsExpireInSeconds + waitSeconds;
  }

  settled(): Promise<void> {
    return this.#publishes.settled();
  }

  #publish(message: Message): Promise<Outcome> {
    this.#options.telemetry.record?.('task.sent', 1, { task: message.signature.name, queue: message.routingKey });
    return this.#publishes.add(message);
  }

  /** Encodes, or answers why the broker could never take it. */
  #message(signature: Sendable): Message | Error {
    try {
      return this.#encode(this.#handled(signature));
    } catch (error) {
      return error as Error;
    }
  }

  #handled(signature: Sendable): Sendable {
    const handled = this.#options.prePublishHandler?.(signature);
    return handled === undefined ? signature : { ...this.complete(handled), uuid: signature.uuid };
  }

  #encode(signature: Sendable): Message {
    const { name, uuid, routingKey, eta } = signature;
    const { capabilities, name: broker } = this.#options.broker;
    const { maxMessageBytes = Number.POSITIVE_INFINITY, maxDelayMs = Number.POSITIVE_INFINITY } = capabilities;
    const body = encodeSignature(signature);
    // A character has 3 bytes at most: short bodies need not be measured.
    const bytes = body.length * 3 > maxMessageBytes ? Buffer.byteLength(body) : 0;
    if (bytes > maxMessageBytes) throw new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', `Task ${name} (${uuid}) is a message of ${bytes} bytes, ${broker} takes ${maxMessageBytes}`);
    if (eta === undefined) return { body, routingKey, signature };
    const dueAtMs = etaMs(eta);
    if (dueAtMs - Date.now() > maxDelayMs) throw new MachineryError('ERR_MACHINERY_NOT_SUPPORTED', `Task ${name} (${uuid}) has the ETA ${encodeTime(eta)}: ${broker} delays by ${maxDelayMs} ms at most`);
    return { body, routingKey, dueAtMs, signature };
  }
}

export function newTaskUuid(): string {
  return `task_${randomUUID()}`;
}

/** Callbacks have UUIDs before they are sent, so that their results can be asked for. */
function withUuids(signature: Signature): Signature {
  const { onSuccess, onError, chordCallback } = signature;
  return {
    ...signature,
    uuid: signature.uuid || newTaskUuid(),
    ...(onSuccess !== undefined && { onSuccess: onSuccess.map(withUuids) }),
    ...(onError !== undefined && { onError: onError.map(withUuids) }),
    ...(chordCallback !== undefined && { chordCallback: withUuids(chordCallback) }),
  };
}
