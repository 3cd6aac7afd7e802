// The RabbitMQ of a run. Starting one takes seconds, so all sessions share it, each with a queue of its own.

import { type StartedRabbit, startRabbit } from '@machinery/services';

export class Rabbit implements AsyncDisposable {
  #starting: Promise<StartedRabbit> | undefined;
  #queues = 0;
  #version = '?';

  async url(): Promise<string> {
    this.#starting ??= this.#start();
    return (await this.#starting).url;
  }

  newQueue(): string {
    return `bench-${++this.#queues}`;
  }

  get version(): string {
    return this.#version;
  }

  /** Ends it with all its queues: the next one who asks gets another. */
  async stop(): Promise<void> {
    const started = await this.#starting;
    this.#starting = undefined;
    await started?.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(): Promise<StartedRabbit> {
    const started = await startRabbit();
    if (started === undefined) throw new Error('There is no rabbitmq-server');
    this.#version = (await started.ctl('version')).trim();
    return started;
  }
}
