// What leaves a queue by a copy: to its queue of dead messages, to its own end, into a delay. A message is acked when its copy is
// stored: a crash in between leaves one more.
//
// What cannot be copied for now stays unsettled and is tried again in the background: one queue of dead messages that is full or may not be
// declared must not end all work. So it counts against the prefetch until it is copied.

import { errorText, type Logger, type Outcome, type Settlement, UnderWay } from '@machinery/core';
import type { Copy } from './amqp-broker.ts';
import type { AmqpDelivery } from './amqp-consumer.ts';
import { copiedProperties, deadReasonHeader, dueAtHeader, reasonText, redeliveredHeader } from './messages.ts';
import type { Session } from './session.ts';

/** A settlement that needs a copy. */
export type Leaving = Exclude<Settlement<AmqpDelivery>, { kind: 'ack' } | { position: 'front' }>;

export interface CopiesOptions {
  readonly queue: string;
  /** Declares the queue of dead messages, and answers its name. */
  readonly deadQueue: () => Promise<string>;
  readonly sendCopies: (copies: readonly Copy[]) => Promise<Outcome[]>;
  readonly logger: Logger;
}

/** The first pause before another try, and the longest, in milliseconds. */
const [firstPauseMs, longestPauseMs] = [100, 30_000];

export class Copies {
  readonly #options: CopiesOptions;
  readonly #retries = new Set<NodeJS.Timeout>();
  readonly #underWay = new UnderWay();
  /** Said once, until one succeeds. */
  #isFailing = false;
  #isClosed = false;

  constructor(options: CopiesOptions) {
    this.#options = options;
  }

  /** Resolves when each has been tried. Never rejects. */
  replace(session: Session<AmqpDelivery>, settled: readonly Leaving[]): Promise<void> {
    const now = Date.now();
    for (const { delivery } of settled) delivery.isLeaving = true;
    const all = settled.map((leaving) => ({ leaving, dueAtMs: now + delayOf(leaving) }));
    return this.#try(session, all, firstPauseMs);
  }

  /** Ends the tries: what is left is delivered again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#retries) clearTimeout(timer);
    await this.#underWay.none();
  }

  #try(session: Session<AmqpDelivery>, all: readonly Due[], pauseMs: number): Promise<void> {
    return this.#underWay.during(() => this.#tryOnce(session, all, pauseMs));
  }

  async #tryOnce(session: Session<AmqpDelivery>, all: readonly Due[], pauseMs: number): Promise<void> {
    const ready: { due: Due; copy: Copy }[] = [];
    const left: Due[] = [];
    let failure: unknown;
    const fail = (due: Due, error: unknown) => {
      left.push(due);
      failure ??= error;
    };
    for (const due of all) {
      try {
        ready.push({ due, copy: await this.#copyOf(due) });
      } catch (error) {
        fail(due, error);
      }
    }
    const outcomes = await this.#options.sendCopies(ready.map(({ copy }) => copy));
    session.ack(ready.filter((_, i) => outcomes[i]?.status === 'stored').map(({ due }) => due.leaving.delivery));
    for (const [i, outcome] of outcomes.entries())
      if (outcome.status !== 'stored') fail((ready[i] as { due: Due }).due, outcome.error);
    if (left.length > 0) this.#later(session, left, pauseMs, failure);
    else this.#isFailing = false;
  }

  #later(session: Session<AmqpDelivery>, left: readonly Due[], pauseMs: number, failure: unknown): void {
    if (this.#isClosed) return;
    const { logger, queue } = this.#options;
    const text = `A message of queue ${queue} could not be put elsewhere, and stays here until it is: ${errorText(failure)}`;
    if (this.#isFailing) logger.debug(text, failure);
    else logger.error(text, failure);
    this.#isFailing = true;
    const timer = setTimeout(() => {
      this.#retries.delete(timer);
      const still = left.filter(({ leaving }) => session.has(leaving.delivery));
      if (still.length > 0) void this.#try(session, still, Math.min(pauseMs * 2, longestPauseMs));
    }, pauseMs);
    timer.unref();
    this.#retries.add(timer);
  }

  async #copyOf({ leaving, dueAtMs }: Due): Promise<Copy> {
    const { content, properties } = leaving.delivery.message;
    if (leaving.kind === 'dead') {
      const to = await this.#options.deadQueue();
      const more = { [deadReasonHeader]: reasonText(leaving.reason) };
      return { to, delayMs: 0, content, properties: copiedProperties(properties, more) };
    }
    const delayMs = Math.max(0, dueAtMs - Date.now());
    const more = {
      ...(leaving.delivery.redelivered && { [redeliveredHeader]: '1' }),
      ...(delayMs > 0 && { [dueAtHeader]: String(Math.ceil(dueAtMs)) }),
    };
    return { to: this.#options.queue, delayMs, content, properties: copiedProperties(properties, more) };
  }
}

interface Due {
  readonly leaving: Leaving;
  readonly dueAtMs: number;
}

/** In milliseconds. */
function delayOf(leaving: Leaving): number {
  return leaving.kind === 'dead' ? 0 : (leaving.delayMs ?? 0);
}
