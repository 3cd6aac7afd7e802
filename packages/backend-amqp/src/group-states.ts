// The final states of a chord's members, each a message in a queue named by the group, where Go's workers put and count them. The
// group is complete when the queue has as many as the group has members; then one worker takes them all, and holds them unacked until the
// callback is published: if it dies, the server has them again.
//
// Invariant: whoever gave states back looks again, as nobody could count them meanwhile.

import { setTimeout as sleep } from 'node:timers/promises';
import { type AmqpChannel, type AmqpConnection, isInUse, isMissing } from '@machinery/amqp-client';
import { MachineryError, type StateGroup, type TakenGroup, type TaskState } from '@machinery/core';
import type { GetMessage } from 'amqplib';
import { triggeredQueue } from './group-records.ts';
import { type StateQueues, stateQueue } from './state-queues.ts';

/** How long one waits before it asks again, in milliseconds: at first, and at most. */
const pauseMs = { first: 20, longest: 1_000 };
/** How long the server may take to have again what was given back, in milliseconds, where nobody else takes it at once. */
const givenBackMs = 5_000;

/** The states of one look. */
interface Held {
  readonly states: ReadonlyMap<string, TaskState>;
  readonly release: () => Promise<void>;
}

/** `in use`: by another worker, or by Go's. */
type Look = Held | 'in use' | 'lost';

export class GroupStates {
  readonly #connection: AmqpConnection;
  readonly #queues: StateQueues;
  readonly #decoded: (message: GetMessage, queue: string) => TaskState | undefined;
  /** What this process takes: a lock of the server is a connection's. */
  readonly #taking = new Set<string>();
  readonly #closing = new AbortController();

  constructor(
    connection: AmqpConnection,
    queues: StateQueues,
    decoded: (message: GetMessage, queue: string) => TaskState | undefined,
  ) {
    this.#connection = connection;
    this.#queues = queues;
    this.#decoded = decoded;
  }

  /**
   * The states of all members in the order in which they were written; undefined: some are missing, or another one has them.
   * Waits for as long as another one takes them: it may find that some are missing, and the last member has ended meanwhile.
   *
   * @throws MachineryError ERR_MACHINERY_GROUP_EXPIRED when others deleted the queue while it was read, and as all calls.
   */
  async take({ uuid, taskCount }: StateGroup, again: boolean): Promise<Omit<TakenGroup, 'inOrder'> | undefined> {
    const triggered = triggeredQueue(uuid);
    const isDecided = async () => (await this.#queues.count(triggered)) !== undefined;
    const pause = pauses(this.#closing.signal);
    for (let mayHaveTwo = again; ; ) {
      const count = await this.#queues.count(stateQueue(uuid));
      if (count === undefined || (count < taskCount && !mayHaveTwo)) return undefined;
      if (await isDecided()) return undefined;
      const held = await this.#hold(uuid);
      if (held === 'in use') {
        await pause();
        continue;
      }
      if (held === 'lost') {
        if (await isDecided()) return undefined;
        const text = `Group ${uuid} cannot be completed: its queue was deleted while the states of its members were read`;
        throw new MachineryError('ERR_MACHINERY_GROUP_EXPIRED', text);
      }
      const { states, release } = held;
      if (states.size >= taskCount) return { states: [...states.values()], release };
      await release();
      await this.#untilBack(stateQueue(uuid), states.size);
      mayHaveTwo = false;
    }
  }

  /** Ends what waits. */
  close(): void {
    this.#closing.abort();
  }

  /** Until the server has given-back states again, as those who counted before have missed them; or until another one has them. */
  async #untilBack(queue: string, states: number): Promise<void> {
    const pause = pauses(this.#closing.signal);
    const deadline = performance.now() + givenBackMs;
    while (performance.now() < deadline) {
      const count = await this.#queues.count(queue);
      if (count === undefined || count >= states) return;
      await pause();
    }
  }

  /** Nobody else takes meanwhile: the lock is a queue that belongs to the connection, and ends with it. */
  async #hold(uuid: string): Promise<Look> {
    if (this.#taking.has(uuid)) return 'in use';
    this.#taking.add(uuid);
    const lock = `${stateQueue(uuid)}_taken`;
    try {
      if (!(await this.#queues.lock(lock))) return 'in use';
      try {
        return await this.#takeAll(uuid);
      } finally {
        await this.#queues.delete([lock]);
      }
    } finally {
      this.#taking.delete(uuid);
    }
  }

  async #takeAll(uuid: string): Promise<Look> {
    const queue = stateQueue(uuid);
    const messages: GetMessage[] = [];
    const channel = await this.#connection.channel();
    try {
      const get = () => channel.call(`take the states of group ${uuid}`, (raw) => raw.get(queue));
      for (let got = await get(); got !== false; got = got.fields.messageCount > 0 && (await get())) messages.push(got);
      return this.#heldOn(channel, queue, messages);
    } catch (error) {
      await channel.close();
      if (isInUse(error)) return 'in use';
      if (!isMissing(error)) throw error;
      return messages.length > 0 ? 'lost' : { states: new Map(), release: async () => {} };
    }
  }

  /** Of two states of one member, the first one is dropped, so that Go's workers count one. */
  #heldOn(channel: AmqpChannel, queue: string, messages: readonly GetMessage[]): Held {
    const last = new Map<string, { readonly message: GetMessage; readonly state: TaskState }>();
    for (const message of messages) {
      const state = this.#decoded(message, queue);
      const before = state && last.get(state.taskUuid);
      if (state === undefined) channel.raw.ack(message);
      else last.set(state.taskUuid, { message, state });
      if (before !== undefined) channel.raw.ack(before.message);
    }
    const states = new Map([...last].map(([uuid, { state }]) => [uuid, state]));
    return { states, release: () => channel.close() }; // which gives back what is not acked
  }
}

/** Answers a function that waits, longer with each call. It rejects with core's error when the backend is closed. */
function pauses(signal: AbortSignal): () => Promise<void> {
  let ms = pauseMs.first;
  return async () => {
    await sleep(ms, undefined, { signal }).catch(() => {
      throw new MachineryError('ERR_MACHINERY_CLOSED', 'The AMQP backend is closed');
    });
    ms = Math.min(2 * ms, pauseMs.longest);
  };
}
