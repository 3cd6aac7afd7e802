// The spine: carries a delivery from message to verdict. Decode, look up, look back, run, store, follow up, ack. What a
// step needs is in the file of its name; `worker.ts` owns the life cycle, `consumer.ts` the slots.
//
// Invariant: a message is acked only after its final state is stored and its follow-ups are published.

import { Attempt, type Ended, nextTurn } from './attempt.ts';
import { sharedAbortController, sleep } from './backoff.ts';
import type { Delivery } from './broker.ts';
import { isChordMember } from './chords.ts';
import type { Hold, Verdict } from './consumer.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError, retryLaterMs } from './errors.ts';
import { type Ending, FollowUps } from './follow-ups.ts';
import { Persistence } from './persistence.ts';
import type { RegisteredTask } from './registry.ts';
import { etaAfter, nextAttempt, retryDelayMs } from './retry.ts';
import type { Sendable } from './sender.ts';
import type { Signature } from './signature.ts';
import { isSameSend, type TaskResult, type TaskState } from './task-state.ts';
import { UnknownTasks } from './unknown-tasks.ts';
import { newUuid } from './uuid.ts';
import { decodeSignature } from './wire/signature-codec.ts';
import { etaMs } from './wire/time.ts';

export interface ProcessorOptions {
  readonly engine: Engine;
  readonly queue: string;
  readonly maxDeliveries: number;
  readonly errorHandler: (error: unknown, signature?: Signature) => void;
  readonly preTaskHandler: ((signature: Signature) => unknown) | undefined;
  readonly postTaskHandler: ((signature: Signature) => unknown) | undefined;
}

const ack: Verdict = { kind: 'ack' };

export class Processor {
  readonly #options: ProcessorOptions;
  readonly #engine: Engine;
  readonly #unknown: UnknownTasks;
  readonly #persistence: Persistence;
  readonly #followUps: FollowUps;
  readonly #attempts = new Set<Attempt>();
  /** Fires when nothing that is in hand is wanted any more. */
  readonly #aborted = sharedAbortController();

  constructor(options: ProcessorOptions) {
    const { engine, queue } = options;
    this.#options = options;
    this.#engine = engine;
    this.#unknown = new UnknownTasks(engine.logger, queue);
    this.#persistence = new Persistence(engine, `tasks of queue ${queue}`, this.#aborted.signal);
    this.#followUps = new FollowUps(engine, this.#persistence);
  }

  /** Fires the AbortSignal of every running task; what is in hand is given back and writes nothing more. */
  abort(reason: MachineryError): void {
    this.#aborted.abort(reason);
    for (const attempt of this.#attempts) attempt.abort(reason);
  }

  /** Carries out one delivery. Never rejects. */
  async handle(delivery: Delivery, hold: Hold): Promise<Verdict> {
    try {
      return await this.#process(delivery, hold);
    } catch (error) {
      if (this.#aborted.signal.aborted) return { kind: 'requeue', position: 'front', begun: true };
      this.#engine.logger.error(
        `A message of queue ${this.#options.queue} could not be processed and goes back: ${errorText(error)}`,
        error,
      );
      this.#options.errorHandler(error);
      await sleep(1_000, this.#aborted.signal);
      return { kind: 'requeue', position: 'front', begun: true };
    }
  }

  #process(delivery: Delivery, hold: Hold): Verdict | Promise<Verdict> {
    const signature = this.#decode(delivery);
    if (signature instanceof Error) return { kind: 'dead', reason: signature.message };
    const task = this.#engine.registry.get(signature.name);
    if (task === undefined) return this.#unregistered(signature, delivery);
    const attempt = new Attempt(signature, this.#engine);
    if (isChordMember(signature)) return this.#processMember(attempt, task, delivery, hold);
    return this.#carryOut(attempt, task, delivery, hold);
  }

  async #processMember(attempt: Attempt, task: RegisteredTask, delivery: Delivery, hold: Hold): Promise<Verdict> {
    const { chords } = this.#followUps;
    const { signature } = attempt;
    chords.hold(signature, delivery.redelivered);
    try {
      return await this.#carryOut(attempt, task, delivery, hold);
    } finally {
      await chords.letGo(signature, attempt.createdAt);
    }
  }

  async #unregistered(signature: Sendable, delivery: Delivery): Promise<Verdict> {
    const verdict = this.#unknown.verdict(signature, delivery.body);
    if (verdict.kind === 'ack')
      await this.#followUps.dropped(signature, 'A worker that does not know it has dropped it');
    return verdict;
  }

  async #carryOut(attempt: Attempt, task: RegisteredTask, delivery: Delivery, hold: Hold): Promise<Verdict> {
    const stored = this.#lookBack(attempt, delivery);
    if (delivery.redelivered && attempt.sentAt !== undefined && stored !== undefined) {
      const verdict = await this.#resume(attempt, await stored);
      if (verdict !== undefined) return verdict;
      this.#aborted.signal.throwIfAborted();
    }
    if ((delivery.deliveryCount ?? 1) > this.#options.maxDeliveries)
      return this.#failed(attempt, tooManyDeliveries(attempt.signature, delivery));

    const ended = await this.#run(attempt, task, hold);
    this.#aborted.signal.throwIfAborted();
    const owns = hold.owns?.() ?? true;
    if (owns !== true && !(await this.#stillOwns(hold, owns))) return this.#letGo(attempt);
    if (stored !== undefined) await stored;
    if (ended.kind === 'success') return this.#succeeded(attempt, ended.results);
    return this.#retried(attempt, task, ended) ?? this.#failed(attempt, ended.error);
  }

  /** The signature, or why the message is none. */
  #decode(delivery: Delivery): Sendable | Error {
    try {
      const signature = decodeSignature(delivery.body);
      const { uuid, routingKey } = signature;
      const { receiptHandle } = delivery;
      if (uuid && routingKey && receiptHandle === undefined) return signature as Sendable;
      return {
        ...signature,
        uuid: uuid || newUuid('task'),
        routingKey: routingKey || this.#options.queue,
        ...(receiptHandle !== undefined && { sqsReceiptHandle: receiptHandle }),
      };
    } catch (error) {
      this.#engine.logger.error(
        `A message of queue ${this.#options.queue} is no signature and goes to the dead messages: ${errorText(error)}`,
        error,
      );
      this.#options.errorHandler(error);
      return error as Error;
    }
  }

  /**
   * The stored state, where it is needed: a redelivery may be done already, and a message without our header does not
   * say when it was sent.
   */
  #lookBack(attempt: Attempt, delivery: Delivery): Promise<TaskState | undefined> | undefined {
    if (!this.#persistence.mayRead || (attempt.sentAt !== undefined && !delivery.redelivered)) return undefined;
    const read = this.#persistence.read([attempt.signature.uuid]).then(([state]) => {
      attempt.createdAt ??= state?.createdAt;
      return state;
    });
    read.catch(() => {}); // awaited later, or not at all when the worker stops before
    return read;
  }

  /** What a redelivery has left to do, when there is proof that it is of the same send; undefined: run it. */
  async #resume(attempt: Attempt, state: TaskState | undefined): Promise<Verdict | undefined> {
    if (state === undefined || !isSameSend(state, { createdAt: attempt.sentAt })) return undefined;
    const { signature } = attempt;
    const ending = { again: true, sentAt: attempt.sentAt };
    if (state.state === 'SUCCESS') return ackAfter(this.#followUps.succeeded(signature, state.results ?? [], ending));
    if (state.state === 'FAILURE') return ackAfter(this.#followUps.failed(signature, state.error ?? '', ending));
    const reached = state.attempt ?? 1;
    if (reached > attempt.context.attempt) return ack; // a later attempt was published and has begun
    if (state.state !== 'RETRY' || state.retryEta === undefined || reached < attempt.context.attempt) return undefined;
    const usesRetry = (state.retryCount ?? 0) < (signature.retryCount ?? 0);
    const refused = await this.#republish(attempt, nextAttempt(signature, state.retryEta, usesRetry));
    return refused === undefined ? ack : this.#failed(attempt, refused);
  }

  async #run(attempt: Attempt, task: RegisteredTask, hold: Hold): Promise<Ended> {
    const { preTaskHandler, postTaskHandler } = this.#options;
    const { states, telemetry } = this.#engine;
    this.#attempts.add(attempt);
    states.announce(attempt);
    try {
      const args = attempt.decodeArgs(task);
      if (args !== undefined) {
        if (preTaskHandler !== undefined) {
          await this.#hook('preTaskHandler', preTaskHandler, attempt);
          states.announce(attempt); // that it has started, which may be news only now
        }
        this.#aborted.signal.throwIfAborted();
        await telemetry.runTask(attempt.signature, () => attempt.run(task, args));
        if (postTaskHandler !== undefined) await this.#hook('postTaskHandler', postTaskHandler, attempt);
      }
      hold.release();
      await nextTurn();
      return attempt.seal();
    } finally {
      this.#attempts.delete(attempt);
    }
  }

  /** @param answer what `owns` has answered, which may not be the last word. */
  async #stillOwns({ owns }: Hold, answer: boolean | Promise<boolean>): Promise<boolean> {
    let first: typeof answer | undefined = answer;
    return this.#persistence.untilDone('asked who has a message', async () => {
      const asked = first ?? owns?.() ?? true;
      first = undefined;
      return asked;
    });
  }

  /** Another worker has the message: how the task ended here is its to say. The broker ignores the verdict. */
  #letGo({ signature }: Attempt): Verdict {
    this.#engine.logger.warn(
      `Task ${signature.name} (${signature.uuid}) was given to another worker while it ran here: its outcome here is dropped`,
    );
    return { kind: 'requeue', position: 'front', begun: true };
  }

  async #hook(name: string, hook: (signature: Signature) => unknown, { signature }: Attempt): Promise<void> {
    try {
      await hook(signature);
    } catch (error) {
      this.#engine.logger.error(
        `${name} failed for task ${signature.name} (${signature.uuid}), which goes on: ${errorText(error)}`,
        error,
      );
    }
  }

  async #succeeded(attempt: Attempt, results: readonly TaskResult[]): Promise<Verdict> {
    const refused = await this.#persistence.store(attempt.stateOf('SUCCESS', { results }));
    if (refused !== undefined) return this.#failed(attempt, refused);
    this.#engine.telemetry.record('task.succeeded', 1, attempt.signature);
    return ackAfter(this.#followUps.succeeded(attempt.signature, results, endingOf(attempt)));
  }

  async #failed(attempt: Attempt, error: unknown): Promise<Verdict> {
    const { signature } = attempt;
    const text = errorText(error);
    this.#engine.logger.error(`Task ${signature.name} (${signature.uuid}) failed: ${text}`, error);
    this.#options.errorHandler(error, signature);
    const refused = await this.#persistence.storeWithError(attempt.failureOf('FAILURE', text));
    this.#engine.telemetry.record('task.failed', 1, signature);
    await this.#followUps.failed(signature, text, endingOf(attempt));
    return refused === undefined
      ? ack
      : { kind: 'dead', reason: `Its failure could not be stored: ${refused.message}` };
  }

  /** Publishes the next attempt, when the task has one: undefined means that this was the last. */
  #retried(attempt: Attempt, task: RegisteredTask, ended: Ended & { kind: 'failure' }): Promise<Verdict> | undefined {
    const { signature } = attempt;
    const laterMs = retryLaterMs(ended.error);
    const isFinal = ended.final === true || MachineryError.is(ended.error, 'ERR_MACHINERY_UNRECOVERABLE');
    if (isFinal || (laterMs === undefined && (signature.retryCount ?? 0) <= 0)) return undefined;
    let delayMs: number;
    try {
      delayMs = laterMs ?? retryDelayMs(signature, ended.error, task.backoff);
    } catch (error) {
      return this.#failed(attempt, error); // a backoff function of the user's that throws
    }
    return this.#retry(attempt, delayMs, laterMs === undefined, ended.error);
  }

  async #retry(attempt: Attempt, delayMs: number, usesRetry: boolean, error: unknown): Promise<Verdict> {
    const { signature } = attempt;
    const eta = etaAfter(delayMs, this.#engine.clock);
    const next = nextAttempt(signature, eta, usesRetry);
    const more = { retryEta: eta, retryCount: next.retryCount ?? 0 };
    if (isChordMember(signature)) await this.#followUps.chords.keepUntil(signature, etaMs(eta));
    const refused =
      (await this.#persistence.storeWithError(attempt.failureOf('RETRY', errorText(error), more), etaMs(eta))) ??
      (await this.#republish(attempt, next));
    if (refused !== undefined) {
      this.#engine.logger.error(
        `Task ${signature.name} (${signature.uuid}) cannot be tried again: ${refused.message}`,
        refused,
      );
      return this.#failed(attempt, error);
    }
    this.#engine.logger.warn(
      `Task ${signature.name} (${signature.uuid}) is tried again in ${Math.ceil(delayMs)} ms: ${errorText(error)}`,
    );
    this.#engine.telemetry.record('task.retried', 1, signature);
    return ack;
  }

  /** Publishes the next attempt. Answers why it can never be published. */
  async #republish({ signature }: Attempt, next: Signature): Promise<Error | undefined> {
    const outcome = await this.#persistence.persist(() =>
      this.#engine.sender.republish({ ...next, uuid: signature.uuid, routingKey: signature.routingKey }),
    );
    return outcome.status === 'failed' ? outcome.error : undefined;
  }
}

function endingOf({ createdAt }: Attempt): Ending {
  return { again: false, sentAt: createdAt };
}

/** Nothing to follow up, for most tasks: then there is nothing to wait for either. */
function ackAfter(followUps: Promise<void> | undefined): Verdict | Promise<Verdict> {
  return followUps === undefined ? ack : followUps.then(() => ack);
}

function tooManyDeliveries({ name }: Signature, { deliveryCount }: Delivery): MachineryError {
  return new MachineryError(
    'ERR_MACHINERY_TOO_MANY_DELIVERIES',
    `Task ${name} was delivered ${deliveryCount} times and never ended: it seems to end its process, and is not tried again`,
  );
}
