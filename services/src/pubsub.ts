// A Pub/Sub for tests: Google's own fake, as a Go program.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { createInterface, type Interface } from 'node:readline';
import { missing } from './available.ts';
import { buildGo, findGo } from './go.ts';

export interface PubSubServer {
  /** `host:port`, for `PUBSUB_EMULATOR_HOST`. */
  readonly host: string;
  /** Ends what was started here, with its messages. */
  stop(): Promise<void>;
}

/** The emulator of `PUBSUB_EMULATOR_HOST`, or the fake. undefined where there is none. */
export async function pubsubServer(): Promise<PubSubServer | undefined> {
  const { PUBSUB_EMULATOR_HOST: host } = process.env;
  return host ? { host, stop: async () => {} } : startPubSub();
}

/** A fake of its own, whose subscriptions may have ack deadlines of a second. undefined where there is no Go. */
export async function startPubSub(): Promise<StartedPubSub | undefined> {
  const go = findGo();
  if (go === undefined) return missing('Pub/Sub', 'set PUBSUB_EMULATOR_HOST, or install Go, which builds the fake');
  const child = spawn(await buildGo(go, './pubsub-fake'), ['--min-ack-deadline', '1s'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  process.once('exit', () => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  const [host] = (await once(lines, 'line')) as [string];
  return new StartedPubSub(host, child, lines);
}

export class StartedPubSub implements PubSubServer {
  readonly host: string;
  readonly #process: ChildProcess;
  readonly #lines: Interface;

  constructor(host: string, child: ChildProcess, lines: Interface) {
    this.host = host;
    this.#process = child;
    this.#lines = lines;
  }

  /** Ends all connections and takes no new ones; its messages stay. */
  async down(): Promise<void> {
    await this.#ask('stop');
  }

  async up(): Promise<void> {
    await this.#ask('start');
  }

  /** The next so many acknowledgements fail, as they may for a while where delivery is exactly once. */
  async failAcks(count: number): Promise<void> {
    await this.#ask(`transient ${count}`);
  }

  /** How often each method was called. */
  async calls(): Promise<Readonly<Record<string, number>>> {
    return JSON.parse(await this.#ask('counts')) as Record<string, number>;
  }

  async stop(): Promise<void> {
    const ended = once(this.#process, 'exit');
    this.#process.stdin?.end();
    await ended;
  }

  async #ask(command: string): Promise<string> {
    const answer = once(this.#lines, 'line');
    this.#process.stdin?.write(`${command}\n`);
    return ((await answer) as [string])[0];
  }
}
