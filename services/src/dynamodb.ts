// A DynamoDB for tests: dynalite, an emulator on LevelDB.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './redis.ts';

export interface DynamoServer {
  /** Its URL, for the option `endpoint` of clients. */
  readonly endpoint: string;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

/** The DynamoDB of `DYNAMODB_ENDPOINT` (with region and credentials in the environment), or an emulator of its own. */
export async function dynamoServer(): Promise<DynamoServer> {
  const { DYNAMODB_ENDPOINT: endpoint } = process.env;
  return endpoint ? { endpoint, stop: async () => {} } : startDynamo();
}

/** An emulator of its own. @param durable keeps its data when it is killed. */
export async function startDynamo({ durable = false } = {}): Promise<StartedDynamo> {
  const dynamo = new StartedDynamo(await freePort(), durable);
  await dynamo.start();
  return dynamo;
}

/** One of this process, which can be killed and started again. */
export class StartedDynamo implements DynamoServer {
  readonly port: number;
  readonly #folder: string | undefined;
  #process: ChildProcess | undefined;

  constructor(port: number, durable: boolean) {
    // For all clients of this process and of its children
    process.env.AWS_REGION ??= 'us-east-1';
    process.env.AWS_ACCESS_KEY_ID ??= 'test';
    process.env.AWS_SECRET_ACCESS_KEY ??= 'test';
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'; // which is printed on Node 20
    this.port = port;
    this.#folder = durable ? mkdtempSync(join(tmpdir(), 'machinery-dynamodb-')) : undefined;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const program = createRequire(import.meta.url).resolve('dynalite/cli.js');
    const args = ['--host', '127.0.0.1', '--port', String(this.port), '--createTableMs', '0'];
    if (this.#folder !== undefined) args.push('--path', this.#folder);
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#process = child;
    process.once('exit', () => child.kill('SIGKILL'));
    child.unref();
    while (!(await answers(this.endpoint))) {
      if (child.exitCode !== null) throw new Error(`dynalite ended with ${child.exitCode} at its start`);
      await sleep(20);
    }
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process as ChildProcess;
    child.ref();
    child.kill(signal);
    if (signal === 'SIGKILL' && child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    await fetch(endpoint);
    return true;
  } catch {
    return false;
  }
}
