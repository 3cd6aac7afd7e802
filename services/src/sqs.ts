// An SQS for tests: fauxqs, an emulator that keeps everything in its memory.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CreateQueueCommand, type QueueAttributeName, SQSClient } from '@aws-sdk/client-sqs';
import { freePort } from './redis.ts';

export interface SqsServer {
  /** What the URLs of its queues have before their names. */
  readonly url: string;
  /** Creates a queue, if there is none of this name; answers its URL. One whose name ends with .fifo is a FIFO queue. */
  createQueue(name: string, attributes?: QueueAttributes): Promise<string>;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

export type QueueAttributes = Partial<Record<QueueAttributeName, string>>;

/** The SQS of `SQS_URL` (with region and credentials in the environment), or an emulator of its own. */
export async function sqsServer(): Promise<SqsServer> {
  const { SQS_URL: url } = process.env;
  return url ? new GivenSqs(url) : startSqs();
}

/** An emulator of its own. */
export async function startSqs(): Promise<StartedSqs> {
  const sqs = new StartedSqs(await freePort());
  await sqs.start();
  return sqs;
}

class GivenSqs implements SqsServer {
  readonly url: string;
  readonly #client: SQSClient;

  constructor(url: string) {
    this.url = url;
    this.#client = new SQSClient({ endpoint: new URL(url).origin });
  }

  async createQueue(name: string, attributes: QueueAttributes = {}): Promise<string> {
    const Attributes = { ...attributes, ...(name.endsWith('.fifo') && { FifoQueue: 'true' }) };
    const { QueueUrl } = await this.#client.send(new CreateQueueCommand({ QueueName: name, Attributes }));
    return QueueUrl as string;
  }

  async stop(): Promise<void> {
    this.#client.destroy();
  }
}

/** One of this process, which can be killed (with its data) and started again. */
export class StartedSqs extends GivenSqs {
  readonly port: number;
  #process: ChildProcess | undefined;

  constructor(port: number) {
    // For all clients of this process and of its children
    process.env.AWS_REGION ??= 'us-east-1';
    process.env.AWS_ACCESS_KEY_ID ??= 'test';
    process.env.AWS_SECRET_ACCESS_KEY ??= 'test';
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'; // which is printed on Node 20
    super(`http://127.0.0.1:${port}/000000000000`);
    this.port = port;
  }

  async start(): Promise<void> {
    const program = fileURLToPath(new URL('../programs/fauxqs.mjs', import.meta.url));
    const child = spawn(process.execPath, [program, String(this.port)], { stdio: ['ignore', 'ignore', 'inherit'] });
    this.#process = child;
    process.once('exit', () => child.kill('SIGKILL'));
    child.unref();
    while (!(await answers(this.port))) {
      if (child.exitCode !== null) throw new Error(`fauxqs ended with ${child.exitCode} at its start`);
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

  override async stop(): Promise<void> {
    await super.stop();
    await this.kill();
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/health`)).ok;
  } catch {
    return false;
  }
}
