// Publishes with confirms on one channel, as many at once as there are. The server may confirm a message (it is kept), return it
// first (no queue takes it), refuse it, or go away: then nobody knows.
//
// Invariant: every message that was written has exactly one outcome, also when the channel or the connection is lost.

import { errorText, failed, MachineryError, type MachineryErrorCode, type Outcome, stored } from '@machinery/core';
import type { ConfirmChannel, Options } from 'amqplib';
import type { AmqpConfirmChannel } from './channel.ts';
import type { AmqpConnection } from './connection.ts';

/** A message on its way to an exchange. */
export interface Sending {
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  /** `messageId` is ours. */
  readonly properties: Options.Publish;
  /** Its exchange keeps it itself, and would return what it keeps: that no queue takes it is not told. */
  readonly isKept?: boolean;
  /** For error messages: its task. */
  readonly what: string;
}

interface Pending {
  readonly sending: Sending;
  readonly batch: Batch;
  readonly index: number;
  isReturned: boolean;
}

/** What is sent in one call, with one promise for all of it. */
class Batch {
  readonly ended: Promise<Outcome[]>;
  readonly #outcomes: Outcome[];
  #left: number;
  #resolve!: (outcomes: Outcome[]) => void;

  constructor(size: number) {
    this.#outcomes = Array(size);
    this.#left = size;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    if (size === 0) this.#resolve([]);
  }

  end(index: number, outcome: Outcome): void {
    this.#outcomes[index] = outcome;
    if (--this.#left === 0) this.#resolve(this.#outcomes);
  }
}

/** No queue takes the message: it was not stored, and may be when its queue was declared again. */
export class Unroutable extends MachineryError {}

export class Publisher {
  readonly #connection: AmqpConnection;
  readonly #role: Role;
  readonly #confirmTimeoutMs: number;
  readonly #onLost: () => void;
  #opening: Promise<AmqpConfirmChannel> | undefined;
  /** Once it is open. */
  #channel: AmqpConfirmChannel | undefined;
  readonly #pending = new Map<string, Pending>();
  #next = 1;
  /** Resolves when the socket takes more, or has not done so for long. */
  #drained: Promise<void> | undefined;
  #isStuck = false;
  /** Larger bodies close the channel: the server said so. */
  #maxBytes = Number.POSITIVE_INFINITY;

  /** @param onLost called when the channel ended: what was declared may not be there any more. */
  constructor(connection: AmqpConnection, confirmTimeoutMs: number, onLost: () => void) {
    this.#connection = connection;
    this.#role = connection.role;
    this.#confirmTimeoutMs = confirmTimeoutMs;
    this.#onLost = onLost;
  }

  /** Resolves when the server can be written to, so that whatever fails before was certainly not sent. */
  async ready(): Promise<AmqpConfirmChannel> {
    if (this.#opening === undefined) {
      const opening = this.#open();
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    }
    const channel = await this.#opening;
    const { blockedBecause } = this.#connection;
    if (blockedBecause !== undefined)
      throw unavailable(this.#role, `RabbitMQ takes no messages for now: ${blockedBecause}`);
    return channel;
  }

  /** Writes messages in their order, each made when it is written, and no faster than the server reads. Never rejects. */
  async send(sendings: readonly (() => Sending)[]): Promise<Outcome[]> {
    const batch = new Batch(sendings.length);
    const ids: string[] = [];
    for (const make of sendings) {
      while (this.#drained !== undefined && !this.#isStuck) await this.#drained;
      const index = ids.push(`${this.#next++}`) - 1;
      const id = ids[index] as string;
      try {
        this.#write(this.#writable() ?? (await this.ready()), id, { make, batch, index });
      } catch (error) {
        batch.end(index, notWritten(this.#role, 'A message', error));
      }
    }
    const late = () => {
      for (const id of ids) {
        const { sending } = this.#pending.get(id) ?? {};
        if (sending !== undefined) this.#end(id, unknown(this.#role, sending.what, 'it was not confirmed in time'));
      }
    };
    const timer = setTimeout(late, this.#confirmTimeoutMs);
    try {
      return await batch.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The channel, when there is nothing to wait for. */
  #writable(): AmqpConfirmChannel | undefined {
    return this.#connection.blockedBecause === undefined ? this.#channel : undefined;
  }

  #write(
    { raw }: AmqpConfirmChannel,
    id: string,
    { make, batch, index }: { make: () => Sending; batch: Batch; index: number },
  ): void {
    let what = 'A message';
    try {
      if (this.#isStuck) throw unavailable(this.#role, 'RabbitMQ does not read what it is sent');
      const sending = make();
      const { content, exchange, routingKey, properties, isKept = false } = sending;
      what = sending.what;
      if (content.length > this.#maxBytes) throw tooLarge(this.#role, what, content.length, this.#maxBytes);
      this.#pending.set(id, { sending, batch, index, isReturned: false });
      const options = { ...properties, messageId: id, mandatory: !isKept };
      const more = raw.publish(exchange, routingKey, content, options, (error: unknown) => this.#confirmed(id, error));
      if (!more) this.#waitForDrain(raw);
    } catch (error) {
      this.#pending.delete(id);
      batch.end(index, notWritten(this.#role, what, error));
    }
  }

  #confirmed(id: string, error: unknown): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    const { sending, isReturned } = pending;
    if (isReturned) this.#end(id, failed(unroutable(this.#role, sending), true));
    else if (error === null) this.#end(id, stored);
    else if ((error as Error).message === 'message nacked')
      this.#end(id, failed(refusedByQueue(this.#role, sending), true));
    // otherwise the channel has ended, and says why a turn later
  }

  #end(id: string, outcome: Outcome): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.batch.end(pending.index, outcome);
  }

  async #open(): Promise<AmqpConfirmChannel> {
    const channel = await this.#connection.confirmChannel();
    const { raw } = channel;
    raw.on('return', ({ properties }) => {
      const pending = this.#pending.get(String(properties.messageId));
      if (pending !== undefined) pending.isReturned = true;
    });
    channel.onEnd((reason) => this.#lost(reason));
    this.#channel = channel;
    return channel;
  }

  /** What was not confirmed is unknown, but for what is known to be too large. */
  #lost(reason: Error): void {
    this.#opening = undefined;
    this.#channel = undefined;
    const [, largest] = /larger than configured max size (\d+)/.exec(reason.message) ?? [];
    if (largest !== undefined) this.#maxBytes = Number(largest);
    for (const [id, { sending, isReturned }] of [...this.#pending]) {
      const { content, what } = sending;
      if (isReturned) this.#end(id, failed(unroutable(this.#role, sending), true));
      else if (content.length > this.#maxBytes)
        this.#end(id, failed(tooLarge(this.#role, what, content.length, this.#maxBytes), false));
      else
        this.#end(id, unknown(this.#role, what, `the connection was lost before it was confirmed: ${reason.message}`));
    }
    this.#onLost();
  }

  #waitForDrain(raw: ConfirmChannel): void {
    if (this.#drained !== undefined) return;
    this.#drained = new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#isStuck = true;
        resolve();
      }, this.#confirmTimeoutMs);
      const end = () => {
        clearTimeout(timer);
        this.#isStuck = false;
        this.#drained = undefined;
        raw.off('drain', end);
        raw.off('close', end);
        resolve();
      };
      raw.on('drain', end);
      raw.on('close', end);
    });
  }
}

type Role = 'backend' | 'broker';

function unavailable(role: Role, text: string): MachineryError {
  const code = role === 'broker' ? 'ERR_MACHINERY_BROKER_UNAVAILABLE' : 'ERR_MACHINERY_BACKEND_UNAVAILABLE';
  return new MachineryError(code, text);
}

function refusedCode(role: Role): MachineryErrorCode {
  return role === 'broker' ? 'ERR_MACHINERY_BROKER_FAILED' : 'ERR_MACHINERY_BACKEND_FAILED';
}

function unknown(role: Role, what: string, why: string): Outcome {
  return { status: 'unknown', error: unavailable(role, `${what} may have been stored: ${why}`) };
}

function unroutable(role: Role, { what, exchange, routingKey }: Sending): MachineryError {
  const text = `${what}: no queue takes routing key ${routingKey} on exchange ${exchange || '(default)'}; bind a queue to it`;
  return new Unroutable(refusedCode(role), text);
}

function refusedByQueue(role: Role, { what, routingKey }: Sending): MachineryError {
  const why = `was refused by the queue of routing key ${routingKey}: is it full (x-overflow: reject-publish)?`;
  return unavailable(role, `${what} ${why}`);
}

function tooLarge(role: Role, what: string, bytes: number, limit: number): MachineryError {
  const code = role === 'broker' ? 'ERR_MACHINERY_MESSAGE_TOO_LARGE' : 'ERR_MACHINERY_STATE_TOO_LARGE';
  const text = `${what} has ${bytes} bytes, and the server takes ${limit} (max_message_size)`;
  return new MachineryError(code, text);
}

/** A driver that refuses to write has written nothing: headers that do not fit, or a value that AMQP has no type for. */
function notWritten(role: Role, what: string, cause: unknown): Outcome {
  if (MachineryError.is(cause)) return failed(cause, cause.code === unavailable(role, '').code);
  if ((cause as Error).name === 'IllegalOperationError')
    return failed(unavailable(role, 'The channel is closed'), true);
  const isLarge = cause instanceof RangeError && role === 'broker';
  const why = isLarge ? 'has headers that do not fit in a frame' : 'cannot be written as an AMQP message';
  const code = isLarge ? 'ERR_MACHINERY_MESSAGE_TOO_LARGE' : refusedCode(role);
  return failed(new MachineryError(code, `${what} ${why}: ${errorText(cause)}`, { cause }), false);
}
