// What one case works with: a queue of its own, servers and workers on fresh clients of the adapters under test, and the
// tasks `step` that they run. Everything is closed when the case ends, however it ends.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  type AsyncResult,
  type Backend,
  type Broker,
  type ChainResult,
  type ChordResult,
  errorText,
  type GroupResult,
  Server,
  type ServerOptions,
  type Signature,
  silentLogger,
  type TaskContext,
  type TaskState,
  type Worker,
  type WorkerOptions,
  type WorkflowOptions,
} from '@machinery/core';
import { within } from '../runner.ts';
import { type AnyChain, doesHeader, labelHeader, signatureOf, step, turnsHeader, workflowOf } from './building.ts';
import {
  type ChainSketch,
  type ChordSketch,
  resultOf,
  type TaskSketch,
  task,
  thrownBy,
  type WorkflowSketch,
} from './sketch.ts';
import { StepLog } from './step-log.ts';
import type { WorkflowsUnderTest } from './workflows-under-test.ts';

export interface ServerPlan extends Partial<Omit<ServerOptions, 'broker' | 'backend'>> {
  /** Puts something around the broker. */
  readonly broker?: (broker: Broker) => Broker;
  /** Puts something around the backend. */
  readonly backend?: (backend: Backend) => Backend;
}

type ResultOf<W> = W extends ChainSketch ? ChainResult : W extends ChordSketch ? ChordResult : GroupResult<unknown[]>;

export class Scene {
  readonly queue = `workflows-${randomUUID()}`;
  readonly log = new StepLog();
  readonly patienceMs: number;
  readonly #underTest: WorkflowsUnderTest;
  readonly #servers: Server[] = [];
  readonly #workers: Worker[] = [];
  #closed = false;
  readonly #gates = new Map<string, { readonly opened: Promise<void>; readonly open: () => void }>();

  constructor(underTest: WorkflowsUnderTest, patienceMs: number) {
    this.#underTest = underTest;
    this.patienceMs = patienceMs;
  }

  async prepare(): Promise<void> {
    await this.#underTest.prepareQueue?.(this.queue);
  }

  /** A server on clients of its own, whose default queue is the case's. */
  async server({ broker = (it) => it, backend = (it) => it, ...options }: ServerPlan = {}): Promise<Server> {
    const [innerBroker, innerBackend] = await Promise.all([
      this.#underTest.createBroker(this.queue),
      this.#underTest.createBackend(),
    ]);
    const server = new Server({
      broker: broker(innerBroker),
      backend: backend(innerBackend),
      defaultQueue: this.queue,
      logger: silentLogger,
      ...options,
    });
    if (this.#closed) {
      await server.close();
      throw new Error('The case has ended');
    }
    this.#servers.push(server);
    return server;
  }

  /** A worker on a server of its own that runs `step`; more tasks can be registered with `register`. */
  async worker(
    plan: ServerPlan = {},
    options: WorkerOptions & { readonly register?: (server: Server) => void } = {},
  ): Promise<Worker> {
    const { register, ...workerOptions } = options;
    const server = await this.server(plan);
    server.handle(step, (context, ...args) => this.#run(context, args));
    register?.(server);
    const worker = server.newWorker(`worker-${this.#workers.length + 1}`, { queue: this.queue, ...workerOptions });
    this.#workers.push(worker);
    await this.within('a worker to start', worker.start());
    return worker;
  }

  /** Tells the oldest worker to stop at once, which gives back what it has in hand, and starts another one. */
  async replaceWorker(options: WorkerOptions): Promise<void> {
    const oldest = this.#workers.shift();
    await this.within(
      'a worker to stop at once',
      Promise.all([oldest?.quit({ timeoutMs: 0 }), this.worker({}, options)]),
    );
  }

  /** From now on, the tasks of these labels wait until their gates are opened. Other names are for `opened`. */
  gate(...labels: readonly string[]): void {
    for (const label of labels) {
      let open = () => {};
      const opened = new Promise<void>((resolve) => {
        open = resolve;
      });
      this.#gates.set(label, { opened, open });
    }
  }

  open(...labels: readonly string[]): void {
    for (const label of labels) this.#gates.get(label)?.open();
  }

  /** Resolves when the gate is open, or there is none. */
  async opened(label: string): Promise<void> {
    await this.#gates.get(label)?.opened;
  }

  /** Resolves with the arguments that the task of this label was called with, once it has begun. */
  began(label: string): Promise<readonly string[]> {
    return this.log.began(label, this.patienceMs);
  }

  within<T>(what: string, promise: Promise<T>, patienceMs = this.patienceMs): Promise<T> {
    return within(patienceMs, what, promise);
  }

  /** The task of a label, as a signature for the case's queue. */
  task(label: string, more: Partial<TaskSketch> = {}): Signature & { readonly uuid: string } {
    return { ...signatureOf(task(label, more), this.queue), uuid: `task_${label}_${this.queue}` };
  }

  /** Sends a workflow. */
  send<W extends WorkflowSketch>(server: Server, sketch: W, options?: WorkflowOptions): Promise<ResultOf<W>> {
    return server.sendChain(workflowOf(sketch, this.queue) as AnyChain, options) as unknown as Promise<ResultOf<W>>;
  }

  /** Resolves with the final state of a task; rejects with an AssertionError when that takes too long. */
  async ended(result: AsyncResult): Promise<TaskState> {
    await this.within(
      `task ${result.uuid} to end`,
      result.get().catch(() => {}),
    );
    return (await result.state()) as TaskState;
  }

  /** Stops the workers, and asserts that nothing is left in the queue. */
  async quiet(): Promise<void> {
    await this.#quit();
    assert.deepEqual(await this.#pending(), [], 'Expected nothing to be left in the queue');
  }

  /**
   * Stops the workers, and lets others run what is still in the queue, and what comes of that. Where the broker cannot tell what is in there, one
   * goes on with it.
   */
  async swept(): Promise<void> {
    await this.#quit();
    if (!this.tellsPending) await this.worker();
    while ((await this.#pending()).length > 0) {
      await this.worker();
      await this.drained();
      await this.#quit();
    }
  }

  /** Whether it is known what is in the queue. */
  get tellsPending(): boolean {
    return this.#servers[0]?.broker.capabilities.listPending === true;
  }

  /** Resolves when nothing waits in the queue; at once, where the broker cannot tell. */
  drained(): Promise<void> {
    return this.eventually('the queue to be empty', async () => (await this.#pending()).length === 0);
  }

  /** Resolves when `holds` does, of which nobody tells; rejects with an AssertionError when that takes too long. */
  async eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
    let over = false;
    const look = async () => {
      while (!over && !(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await this.within(what, look()).finally(() => {
      over = true;
    });
  }

  #quit(): Promise<unknown> {
    return this.within('the workers to stop', Promise.all(this.#workers.splice(0).map((worker) => worker.quit())));
  }

  /** What waits for a worker or its time; nothing, where the broker cannot tell. */
  async #pending(): Promise<string[]> {
    const { broker } = this.#servers[0] as Server;
    const { listPending, listDelayed } = broker.capabilities;
    const pending = listPending === true ? await broker.pendingMessages?.(this.queue, 10) : [];
    const delayed = listDelayed === true ? await broker.delayedMessages?.(1_000) : [];
    return [...(pending ?? []), ...(delayed ?? []).filter((body) => body.includes(this.queue))];
  }

  /** Closes everything. What still runs is aborted. */
  async close(): Promise<void> {
    this.#closed = true;
    this.log.onAdd = () => {};
    for (const { open } of this.#gates.values()) open();
    const closed = await Promise.allSettled(
      [
        ...this.#workers.map((worker) => worker.quit({ timeoutMs: this.patienceMs })),
        ...this.#servers.map((server) => server.close()),
      ].map((closing) => this.within('workers and servers to close', closing, 2 * this.patienceMs)),
    );
    for (const result of closed) if (result.status === 'rejected') throw new Error(errorText(result.reason));
  }

  async #run({ signature, attempt }: TaskContext, args: readonly string[]): Promise<string> {
    const { [labelHeader]: name, [doesHeader]: does, [turnsHeader]: turns = 0 } = signature.headers ?? {};
    const label = String(name);
    this.log.add({ label, args, uuid: signature.uuid as string, attempt });
    await this.opened(label);
    for (let i = 0; i < Number(turns); i++) await new Promise((resolve) => setImmediate(resolve));
    if (does === 'fail' || (does === 'fail once' && attempt === 1)) throw new Error(thrownBy(label));
    return resultOf(label, args);
  }
}
