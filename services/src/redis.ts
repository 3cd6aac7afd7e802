// A Redis (or Valkey) for tests.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { findProgram, missing } from './available.ts';

export interface RedisServer {
  readonly url: string;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

export interface RedisServerOptions {
  /** More settings, as on the command line: `['--requirepass', 'secret']`. */
  readonly settings?: readonly string[];
  /** Default: one that is free. */
  readonly port?: number;
}

/** The Redis of `REDIS_URL`, or one of its own on a free port. undefined where there is none. */
export async function redisServer(): Promise<RedisServer | undefined> {
  const { REDIS_URL: url } = process.env;
  return url ? { url, stop: async () => {} } : startRedis();
}

/** A Redis of its own, which keeps nothing on disk. undefined where there is none. */
export async function startRedis({ settings = [], port }: RedisServerOptions = {}): Promise<StartedRedis | undefined> {
  const program = findProgram(['redis-server', 'valkey-server'], 'redis-server');
  if (program === undefined) return missing('Redis', 'set REDIS_URL, or install redis-server or valkey-server');
  const redis = new StartedRedis(program, port ?? (await freePort()), settings);
  await redis.start();
  return redis;
}

/** A server of this process, which can be killed and started again with its data. */
export class StartedRedis implements RedisServer {
  readonly program: string;
  readonly port: number;
  readonly socketPath: string;
  readonly #settings: readonly string[];
  readonly #folder = mkdtempSync(join(tmpdir(), 'machinery-redis-'));
  #process: ChildProcess | undefined;

  constructor(program: string, port: number, settings: readonly string[]) {
    this.port = port;
    this.socketPath = join(this.#folder, 'redis.sock');
    this.program = program;
    this.#settings = settings;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const own = [
      '--port',
      String(this.port),
      '--bind',
      '127.0.0.1',
      '--dir',
      this.#folder,
      '--unixsocket',
      this.socketPath,
    ];
    const args = [...own, '--save', '', '--appendonly', 'no', '--loglevel', 'warning', ...this.#settings];
    const child = spawn(this.program, args, { stdio: 'ignore' });
    this.#process = child;
    process.once('exit', () => child.kill('SIGKILL'));
    child.unref();
    while (!(await answers(this.port))) {
      if (child.exitCode !== null) throw new Error(`${this.program} ended with ${child.exitCode} at its start`);
      await sleep(20);
    }
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process as ChildProcess;
    child.ref(); // or a program whose last step this is ends before
    child.kill(signal);
    if (signal === 'SIGKILL' && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether a Redis answers, with whatever. */
export async function answers(port: number): Promise<boolean> {
  return (await reply(port, 'PING')) !== undefined;
}

/** What a Redis answers to a command whose answer is short; undefined when it does not. */
export function reply(port: number, command: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\n`));
    const end = (answer?: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('data', (data) => end(String(data))).once('error', () => end());
  });
}

/** Resolves when a replica has all that its master has. */
export async function replicated(port: number): Promise<void> {
  while (!(await reply(port, 'INFO replication'))?.includes('master_link_status:up')) await sleep(20);
}
