// The queues of states, as Go declares them: not durable, deleted when unused for as long as results are kept. A server that
// takes no such queues any more gets durable ones, which Go cannot use there, either.

import { type ChannelPool, isInUse, isMissing, isRefusedArgument } from '@machinery/amqp-client';
import { errorText, type Logger, MachineryError } from '@machinery/core';
import type { Channel, GetMessage } from 'amqplib';

/** What a queue is named at most, in bytes. */
const maxNameBytes = 255;

interface QueueOptions {
  readonly autoDelete: boolean;
  readonly arguments: object;
}

/** Go: the UUID. RabbitMQ would leave out the ends of lines. */
export function stateQueue(taskUuid: string): string {
  return taskUuid.replaceAll(/[\r\n]/g, encodeURIComponent);
}

/** @throws MachineryError ERR_MACHINERY_BACKEND_FAILED for a name that no queue can have. */
export function checkedName(queue: string): string {
  const bytes = Buffer.byteLength(queue);
  if (bytes <= maxNameBytes) return queue;
  const text = `The UUID ${queue.slice(0, 100)}… is too long: a queue would have a name of ${bytes} bytes, and RabbitMQ takes ${maxNameBytes}`;
  throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', text);
}

export class StateQueues {
  readonly #pool: ChannelPool;
  readonly #expiresInMs: number;
  readonly #logger: () => Logger;
  #first: Promise<void> | undefined;
  #isDurable = false;
  #hasWarned = false;

  /** @param expiresInMs Go: the arguments of each queue; they must be the same for all that use it. */
  constructor(pool: ChannelPool, expiresInMs: number, logger: () => Logger) {
    this.#pool = pool;
    this.#expiresInMs = expiresInMs;
    this.#logger = logger;
  }

  /** Declares the queue of a task's states, which then lives on for as long as results are kept. */
  async declare(taskUuid: string): Promise<void> {
    const queue = checkedName(stateQueue(taskUuid));
    const args = { 'x-message-ttl': this.#expiresInMs, 'x-expires': this.#expiresInMs };
    await this.declareWith(queue, { autoDelete: true, arguments: args });
  }

  /**
   * Declares any queue of this backend. One that is there with other arguments is used as it is. The first one goes ahead: a server that
   * takes only durable ones closes the connection, with all that is under way on it.
   */
  async declareWith(queue: string, options: QueueOptions): Promise<void> {
    if (this.#first === undefined) {
      this.#first = this.#declare(queue, options);
      return this.#first;
    }
    await this.#first.catch(() => {});
    return this.#declare(queue, options);
  }

  async #declare(queue: string, options: QueueOptions): Promise<void> {
    const durable = this.#isDurable;
    try {
      await this.#pool.run(`declare queue ${queue}`, (raw) => raw.assertQueue(queue, { durable, ...options }));
    } catch (error) {
      if (isRefusedArgument(error)) return this.#warn(`${errorText(error)}: does everybody keep results for as long?`);
      if (durable || !/transient_nonexcl_queues/.test(errorText(error))) throw error;
      if (!this.#isDurable)
        this.#warn(
          'The server takes only durable queues: states are kept in those, and Go cannot use it as a result backend',
        );
      this.#isDurable = true;
      await this.#declare(queue, options);
    }
  }

  /** Takes all states of a task, in the order in which they were written. */
  async take(taskUuid: string): Promise<GetMessage[]> {
    const queue = stateQueue(taskUuid);
    if (Buffer.byteLength(queue) > maxNameBytes) return []; // it was never written, and others are read with it
    const take = async (raw: Channel) => {
      const messages: GetMessage[] = [];
      for (let got = await raw.get(queue); got !== false; got = got.fields.messageCount > 0 && (await raw.get(queue)))
        messages.push(got);
      const last = messages.at(-1);
      if (last !== undefined) raw.ack(last, true); // the channel is this call's
      return messages;
    };
    try {
      return await this.#pool.run(`read the state of task ${taskUuid}`, take);
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  /** Declares a queue that only this connection may use, and that ends with it; false: another connection has it. */
  async lock(queue: string): Promise<boolean> {
    try {
      const options = { exclusive: true, durable: false, autoDelete: true };
      await this.#pool.run(`declare queue ${queue}`, (raw) => raw.assertQueue(queue, options));
      return true;
    } catch (error) {
      if (isInUse(error)) return false;
      throw error;
    }
  }

  /** How many messages of a queue nobody has; undefined: there is no such queue. */
  async count(queue: string): Promise<number | undefined> {
    try {
      return (await this.#pool.run(`look at queue ${queue}`, (raw) => raw.checkQueue(queue))).messageCount;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async delete(queues: readonly string[]): Promise<void> {
    await Promise.all(queues.map((queue) => this.#pool.run(`delete queue ${queue}`, (raw) => raw.deleteQueue(queue))));
  }

  #warn(text: string): void {
    if (!this.#hasWarned) this.#logger().warn(text);
    this.#hasWarned = true;
  }
}
