// A memcached for tests.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram, missing } from './available.ts';
import { freePort } from './redis.ts';

export interface MemcachedServer {
  readonly url: string;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

export interface MemcachedServerOptions {
  /** More settings, as on the command line: `['-I', '2m']`. */
  readonly settings?: readonly string[];
}

/** The Memcached of `MEMCACHED_URL`, or one of its own on a free port. undefined where there is none. */
export async function memcachedServer(): Promise<MemcachedServer | undefined> {
  const { MEMCACHED_URL: url } = process.env;
  return url ? { url, stop: async () => {} } : startMemcached();
}

/** A memcached of its own. undefined where there is none. */
export async function startMemcached({
  settings = [],
}: MemcachedServerOptions = {}): Promise<StartedMemcached | undefined> {
  const program = findProgram(['memcached'], 'memcached');
  if (program === undefined) return missing('Memcached', 'set MEMCACHED_URL, or install memcached');
  const server = new StartedMemcached(program, await freePort(), settings);
  await server.start();
  return server;
}

/** A server of this process, which can be killed and started again, without its data. */
export class StartedMemcached implements MemcachedServer {
  readonly port: number;
  readonly #program: string;
  readonly #settings: readonly string[];
  #process: ChildProcess | undefined;
  readonly #kill = () => this.#process?.kill('SIGKILL');

  constructor(program: string, port: number, settings: readonly string[]) {
    this.port = port;
    this.#program = program;
    this.#settings = settings;
  }

  get url(): string {
    return `memcache://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const user = process.getuid?.() === 0 ? ['-u', 'root'] : []; // as root it wants to be told
    const args = ['-l', '127.0.0.1', '-p', String(this.port), '-U', '0', ...user, ...this.#settings];
    const child = spawn(this.#program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    process.once('exit', this.#kill);
    child.unref();
    let complaint = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      complaint += text;
    });
    (child.stderr as Socket).unref();
    while (!(await answers(this.port))) {
      if (child.exitCode !== null) throw new Error(`${this.#program} ended at its start: ${complaint}`);
      await sleep(20);
    }
  }

  /** What it answers to commands, each with its end of line, until `until` is in it: `tell('stats\r\n', 'END')`. */
  tell(commands: string, until: string): Promise<string> {
    return tell(this.port, commands, until);
  }

  /** Its statistics, by name: `cmd_set`. */
  async stats(): Promise<Readonly<Record<string, number>>> {
    const text = await this.tell('stats\r\n', 'END\r\n');
    return Object.fromEntries(
      [...text.matchAll(/^STAT (\S+) (\S+)\r$/gm)].map(([, name, value]) => [name, Number(value)]),
    );
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process as ChildProcess;
    child.ref(); // or a program whose last step this is ends before
    child.kill(signal);
    if (signal !== 'SIGKILL') return;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    process.off('exit', this.#kill);
  }

  async stop(): Promise<void> {
    await this.kill();
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    await tell(port, 'version\r\n', '\r\n');
    return true;
  } catch {
    return false;
  }
}

function tell(port: number, commands: string, until: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(commands));
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      answer += text;
      if (!answer.includes(until)) return;
      socket.destroy();
      resolve(answer);
    });
    socket.once('error', reject).once('close', () => reject(new Error(`Memcached answered ${answer}`)));
  });
}
