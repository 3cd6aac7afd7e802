// The spine: carries a delivery from message to verdict. Decode, look up, look back, run, store, follow up, ack. What a
// step needs is in the file of its name; `worker.ts` owns the life cycle, `consumer.ts` the slots.
//
// Invariant: a message is acked only after its final state is stored and its follow-ups are published.

import { setImmediate } from 'node:timers';
import { Attempt, type Ended } from './attempt.ts';
import { sharedAbortController, sleep } from './backoff.ts';
import type { Delivery } from './broker.ts';
import { isChordMember } from './chords.ts';
import type { Hold, Verdict } from './consumer.ts';
import type { Engine } from './engine.ts';
import { errorText, MachineryError, retryLaterMs } from './errors.ts';
import { type Ending, FollowUps, hasFollowUps } from './follow-ups.ts';
import type { Outcome } from './outcome.ts';
import { Persistence } from './persistence.ts';
import type { RegisteredTask } from './registry.ts';
import { etaAfter, nextAttempt, retryDelayMs } from './retry.ts';
import type { Sendable } from './sender.ts';
import type { Signature } from './signature.ts';
import { stateWrite } from './state-writer.ts';
import { isFinal, isSameSend, type TaskState } from './task-state.ts';
import { UnknownTasks } from './unknown-tasks.ts';
import { newUuid } from './uuid.ts';
import { decodeSignature } from './wire/signature-codec.ts';
import { etaMs } from './wire/time.ts';

export interface ProcessorOptions {
  readonly engine: Engine;
  readonly queue: string;
  readonly consumerTag: string;
  readonly maxDeliveries: number;
  readonly errorHandler: (error: unknown, signature?: Signature) => void;
  readonly preTaskHandler: ((signature: Signature) => unknown) | undefined;
  readonly postTaskHandler: ((signature: Signature) => unknown) | undefined;
}

const ack: Verdict = { kind: 'ack' };
const left: Verdict = { kind: 'ack', leave: true };
const givenBack: Verdict = { kind: 'requeue', position: 'front', begun: true };

/** A delivery whose message is a signature. */
interface Job {
  readonly hold: Hold;
  readonly attempt: Attempt;
  readonly task: RegisteredTask;
  /** The state from before, where it was asked for. */
  readonly before: Promise<TaskState | undefined> | undefined;
}

export class Processor {
  readonly #options: ProcessorOptions;
  readonly #engine: Engine;
  readonly #unknown: UnknownTasks;
  readonly #persistence: Persistence;
  readonly #followUps: FollowUps;
  readonly #attempts = new Set<Attempt>();
  /** Whether something of the user's goes around each attempt. */
  readonly #wraps: boolean;
  /** Whose attempts have ended in this turn of the event loop. */
  #ended: Job[] = [];
  /** When a task last succeeded, Unix milliseconds. */
  #lastSuccessAt: number | undefined;
  /** Fires when nothing that is in hand is wanted any more. */
  readonly #aborted = sharedAbortController();

  constructor(options: ProcessorOptions) {
    const { engine, queue, preTaskHandler, postTaskHandler } = options;
    this.#options = options;
    this.#engine = engine;
    this.#unknown = new UnknownTasks(engine.logger, queue);
    this.#persistence = new Persistence(engine, `tasks of queue ${queue}`, this.#aborted.signal);
    this.#followUps = new FollowUps(engine, this.#persistence);
    this.#wraps = preTaskHandler !== undefined || postTaskHandler !== undefined || engine.telemetry.wrapsTasks;
  }

  get lastSuccessAt(): number | undefined {
    return this.#lastSuccessAt;
  }

  /** Fires the AbortSignal of every running task; what is in hand is given back and writes nothing more. */
  abort(reason: MachineryError): void {
    this.#aborted.abort(reason);
    for (const attempt of this.#attempts) attempt.abort(reason);
  }

  /** Carries out one delivery, and settles it in the end. */
  handle(hold: Hold): void {
    try {
      this.#begin(hold);
    } catch (error) {
      void this.#broken(error).then((verdict) => hold.settle(verdict));
    }
  }

  #begin(hold: Hold): void {
    const { delivery } = hold;
    const signature = this.#decode(delivery);
    if (signature instanceof Error) hold.settle({ kind: 'dead', reason: signature.message });
    else {
      const task = this.#engine.registry.get(signature.name);
      if (task === undefined) this.#unregistered(signature, hold);
      else this.#carryOut(signature, task, hold);
    }
  }

  #carryOut(signature: Sendable, task: RegisteredTask, hold: Hold): void {
    const { delivery } = hold;
    const attempt = new Attempt(signature, this.#engine);
    this.#engine.telemetry.record('task.received', 1, signature);
    if (delivery.redelivered) this.#engine.telemetry.record('task.redelivered', 1, signature);
    const job: Job = { hold, attempt, task, before: this.#lookBack(attempt, delivery) };
    if (isChordMember(signature)) this.#followUps.chords.hold(signature, delivery.redelivered);
    if (delivery.redelivered || (delivery.deliveryCount ?? 1) > this.#options.maxDeliveries)
      void this.#settleWith(job, this.#verdictBefore(job));
    else this.#guarded(job, () => this.#run(job));
  }

  /** What throws at a job is that job's. */
  #guarded(job: Job, step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#over(job.attempt);
      void this.#settleWith(job, Promise.reject(error));
    }
  }

  #unregistered(signature: Sendable, hold: Hold): void {
    const verdict = this.#unknown.verdict(signature, hold.delivery.body);
    if (verdict.kind !== 'ack') {
      hold.settle(verdict);
      return;
    }
    const dropped = this.#followUps.dropped(signature, 'A worker that does not know it has dropped it');
    dropped.then(
      () => hold.settle(verdict),
      async (error) => hold.settle(await this.#broken(error)),
    );
  }

  /** Of a message that was there before: what is left to do without a run; undefined: it runs. */
  async #verdictBefore({ hold, attempt, before }: Job): Promise<Verdict | undefined> {
    const { delivery } = hold;
    if (delivery.redelivered && attempt.sentAt !== undefined && before !== undefined) {
      const verdict = await this.#resume(attempt, await before);
      if (verdict !== undefined) return verdict;
      this.#aborted.signal.throwIfAborted();
    }
    if ((delivery.deliveryCount ?? 1) <= this.#options.maxDeliveries) return undefined;
    return this.#failed(attempt, tooManyDeliveries(attempt.signature, delivery));
  }

  /** Settles with the verdict; without one the task runs. */
  async #settleWith(job: Job, verdict: Promise<Verdict | undefined>): Promise<void> {
    try {
      const known = await verdict;
      if (known === undefined) return this.#run(job);
      await this.#letGoOfMember(job);
      job.hold.settle(known);
    } catch (error) {
      await this.#letGoOfMember(job)?.catch(() => {});
      job.hold.settle(await this.#broken(error));
    }
  }

  #letGoOfMember({ attempt: { signature, createdAt } }: Job): Promise<void> | undefined {
    return isChordMember(signature) ? this.#followUps.chords.letGo(signature, createdAt) : undefined;
  }

  /** What nobody has foreseen: another try may do better. */
  async #broken(error: unknown): Promise<Verdict> {
    if (this.#aborted.signal.aborted) return givenBack;
    this.#engine.logger.error(
      `A message of queue ${this.#options.queue} could not be processed and goes back: ${errorText(error)}`,
      error,
    );
    this.#options.errorHandler(error);
    await sleep(1_000, this.#aborted.signal);
    return givenBack;
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
   * The stored state, where it is needed: a redelivery may be done already, and a message of Go's does not say when
   * it was sent.
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
    if (isFinal(state.state)) {
      if (state.state === 'SUCCESS') await this.#followUps.succeeded(signature, state.results ?? [], ending);
      else await this.#followUps.failed(signature, state.error ?? '', ending);
      return state.state === 'FAILURE' ? ackOfFailed(signature) : ack;
    }
    const reached = state.attempt ?? 1;
    if (reached > attempt.context.attempt) return ack; // a later attempt was published and has begun
    if (state.state !== 'RETRY' || state.retryEta === undefined || reached < attempt.context.attempt) return undefined;
    const usesRetry = (state.retryCount ?? 0) < (signature.retryCount ?? 0);
    const refused = await this.#republish(attempt, nextAttempt(signature, state.retryEta, usesRetry));
    return refused === undefined ? ack : this.#failed(attempt, refused);
  }

  #run(job: Job): void {
    const { attempt, task } = job;
    this.#attempts.add(attempt);
    if (this.#engine.telemetry.records) this.#recordBegin(attempt);
    this.#engine.states.announce(attempt);
    const args = attempt.decodeArgs(task);
    if (args === undefined) this.#taskEnded(job);
    else if (this.#wraps) void this.#runWrapped(job, args);
    else attempt.run(task, args, () => this.#taskEnded(job));
  }

  #recordBegin({ signature, sentAt }: Attempt): void {
    const { telemetry, clock } = this.#engine;
    telemetry.record('task.running', 1, signature);
    const times = [signature.eta, sentAt].flatMap((time) => (time === undefined ? [] : [etaMs(time)]));
    if (times.length === 0) return;
    telemetry.record('task.waited', Math.max(0, clock.now() - Math.max(...times)), signature);
  }

  /** The attempt runs no longer. */
  #over(attempt: Attempt): void {
    if (this.#attempts.delete(attempt)) this.#engine.telemetry.record('task.running', -1, attempt.signature);
  }

  async #runWrapped(job: Job, args: unknown[]): Promise<void> {
    const { preTaskHandler, postTaskHandler, queue, consumerTag } = this.#options;
    const { states, telemetry } = this.#engine;
    const { attempt, task, hold } = job;
    try {
      if (preTaskHandler !== undefined) {
        await this.#hook('preTaskHandler', preTaskHandler, attempt);
        states.announce(attempt); // that it has started, which may be news only now
      }
      this.#aborted.signal.throwIfAborted();
      const receipt = {
        queue,
        consumerTag,
        attempt: attempt.context.attempt,
        redelivered: hold.delivery.redelivered,
      };
      await telemetry.runTask(attempt.signature, () => attempt.result(task, args), receipt);
      if (postTaskHandler !== undefined) await this.#hook('postTaskHandler', postTaskHandler, attempt);
      this.#taskEnded(job);
    } catch (error) {
      this.#over(attempt);
      void this.#settleWith(job, Promise.reject(error));
    }
  }

  /** The task has ended. How, is looked at in the next turn: what it left rejected was reported by then. */
  #taskEnded(job: Job): void {
    job.hold.release();
    if (this.#ended.push(job) === 1) setImmediate(() => this.#conclude());
  }

  /** Stores together how tasks have ended; what is not a plain success goes its own way. */
  #conclude(): void {
    const { aborted } = this.#aborted.signal;
    const jobs = this.#ended;
    this.#ended = [];
    const succeeded: Job[] = [];
    const now = this.#engine.clock.now();
    for (const job of jobs) {
      this.#over(job.attempt);
      this.#guarded(job, () => {
        const ended = job.attempt.seal();
        if (ended.kind === 'success') this.#lastSuccessAt = now;
        const owns = aborted || job.hold.owns();
        if (ended.kind === 'success' && owns === true && !aborted && job.before === undefined) succeeded.push(job);
        else void this.#settleWith(job, this.#verdictAfter(job, ended, owns));
      });
    }
    if (succeeded.length > 0) void this.#storeAll(succeeded);
  }

  async #storeAll(succeeded: readonly Job[]): Promise<void> {
    const { states, sender } = this.#engine;
    const expiresInSeconds = sender.expiresInSeconds(undefined);
    const writes = succeeded.map(({ attempt }) => stateWrite(attempt.signature, attempt.success(), expiresInSeconds));
    const outcomes = await states.writeAll(writes);
    for (const [i, job] of succeeded.entries()) this.#guarded(job, () => this.#afterStore(job, outcomes[i] as Outcome));
  }

  #afterStore(job: Job, outcome: Outcome): void {
    const { attempt, hold } = job;
    if (outcome.status !== 'stored' || this.#aborted.signal.aborted)
      void this.#settleWith(job, this.#succeeded(attempt, outcome));
    else if (hasFollowUps(attempt.signature)) void this.#settleWith(job, this.#followUp(attempt));
    else {
      this.#engine.telemetry.record('task.succeeded', 1, attempt.signature);
      hold.settle(ack);
    }
  }

  /** @param owns what `hold.owns` has answered. */
  async #verdictAfter(
    { hold, attempt, task, before }: Job,
    ended: Ended,
    owns: boolean | Promise<boolean>,
  ): Promise<Verdict> {
    this.#aborted.signal.throwIfAborted();
    if (owns !== true && !(await this.#stillOwns(hold, owns))) return this.#letGo(attempt);
    await before; // says when the task was sent
    if (ended.kind === 'success') return this.#succeeded(attempt);
    return this.#retried(attempt, task, ended) ?? this.#failed(attempt, ended.error);
  }

  /** @param answer what `owns` has answered, which may not be the last word. */
  async #stillOwns(hold: Hold, answer: boolean | Promise<boolean>): Promise<boolean> {
    let first: typeof answer | undefined = answer;
    return this.#persistence.untilDone('asked who has a message', async () => {
      const asked = first ?? hold.owns();
      first = undefined;
      return asked;
    });
  }

  /** Another worker has the message: how the task ended here is its to say. The broker ignores the verdict. */
  #letGo(attempt: Attempt): Verdict {
    const { signature } = attempt;
    this.#engine.logger.warn(
      `Task ${signature.name} (${signature.uuid}) was given to another worker while it ran here: its outcome here is dropped`,
      this.#fields(attempt),
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

  /** @param first what became of its state, where that was written. */
  async #succeeded(attempt: Attempt, first?: Outcome): Promise<Verdict> {
    const refused = await this.#persistence.store(attempt.signature, attempt.success(), undefined, first);
    return refused === undefined ? this.#followUp(attempt) : this.#failed(attempt, refused);
  }

  async #followUp(attempt: Attempt): Promise<Verdict> {
    const { signature, results } = attempt;
    this.#engine.telemetry.record('task.succeeded', 1, signature);
    await this.#followUps.succeeded(signature, results, endingOf(attempt));
    return ack;
  }

  async #failed(attempt: Attempt, error: unknown): Promise<Verdict> {
    const { signature } = attempt;
    const text = errorText(error);
    this.#engine.logger.error(
      `Task ${signature.name} (${signature.uuid}) failed: ${text}`,
      this.#fields(attempt, error),
    );
    this.#options.errorHandler(error, signature);
    const refused = await this.#persistence.storeWithError(signature, attempt.failureOf('FAILURE', text));
    this.#engine.telemetry.record('task.failed', 1, signature, error);
    await this.#followUps.failed(signature, text, endingOf(attempt));
    return refused === undefined
      ? ackOfFailed(signature)
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
      (await this.#persistence.storeWithError(
        signature,
        attempt.failureOf('RETRY', errorText(error), more),
        etaMs(eta),
      )) ?? (await this.#republish(attempt, next));
    if (refused !== undefined) {
      this.#engine.logger.error(
        `Task ${signature.name} (${signature.uuid}) cannot be tried again: ${refused.message}`,
        this.#fields(attempt, refused),
      );
      return this.#failed(attempt, error);
    }
    this.#engine.logger.warn(
      `Task ${signature.name} (${signature.uuid}) is tried again in ${Math.ceil(delayMs)} ms: ${errorText(error)}`,
      this.#fields(attempt, error),
    );
    this.#engine.telemetry.record('task.retried', 1, signature, error);
    return ack;
  }

  /** What a log says of a task beside its text. */
  #fields({ signature, context }: Attempt, err?: unknown): object {
    const { name: task, uuid } = signature;
    return { task, uuid, attempt: context.attempt, queue: this.#options.queue, ...(err !== undefined && { err }) };
  }

  /** Publishes the next attempt. Answers why it can never be published. */
  async #republish({ signature }: Attempt, next: Signature): Promise<Error | undefined> {
    const outcome = await this.#persistence.persist(() =>
      this.#engine.sender.republish({ ...next, uuid: signature.uuid, routingKey: signature.routingKey }),
    );
    return outcome.status === 'failed' ? outcome.error : undefined;
  }
}

function ackOfFailed({ stopTaskDeletionOnError }: Signature): Verdict {
  return stopTaskDeletionOnError ? left : ack;
}

function endingOf({ createdAt }: Attempt): Ending {
  return { again: false, sentAt: createdAt };
}

function tooManyDeliveries({ name }: Signature, { deliveryCount }: Delivery): MachineryError {
  return new MachineryError(
    'ERR_MACHINERY_TOO_MANY_DELIVERIES',
    `Task ${name} was delivered ${deliveryCount} times and never ended: it seems to end its process, and is not tried again`,
  );
}
