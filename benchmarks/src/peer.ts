// A system's program in a process of its own. It is asked with a line of JSON on stdin and answers each with one on stdout;
// lines with `report` come in between. The README has the requests.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Request {
  readonly do: string;
  readonly [argument: string]: unknown;
}

export interface Report {
  readonly report: 'began' | 'ended';
  readonly a: number;
}

/** The program was still at it when the time was over. */
export class TimedOut extends Error {}

interface Waiter {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Peer {
  onReport: (report: Report) => void = () => {};
  readonly #process: ChildProcess;
  readonly #waiters: Waiter[] = [];
  readonly #ended: Promise<void>;
  readonly #limitMs: number;
  #errors = '';

  constructor([program, ...args]: readonly [string, ...string[]], config: object, limitMs: number) {
    this.#limitMs = limitMs;
    const child = spawn(program, [...args, JSON.stringify(config)], { stdio: 'pipe' });
    this.#process = child;
    child.stderr.on('data', (data) => {
      this.#errors = (this.#errors + data).slice(-2_000);
    });
    child.stdin.on('error', () => {}); // its end says more
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) this.#read(JSON.parse(line));
      else this.#errors += `${line}\n`;
    });
    this.#ended = new Promise((resolve) => {
      const end = (why: unknown) => {
        const error = new Error(`${program} ended (${why}): ${this.#errors}`);
        for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
        resolve();
      };
      child.once('error', end).once('close', (code, signal) => end(signal ?? code));
    });
  }

  get pid(): number {
    return this.#process.pid as number;
  }

  /** @throws TimedOut: the program is of no use after that, as it still answers. */
  async ask<Answer>(request: Request, limitMs = this.#limitMs): Promise<Answer> {
    const answer = new Promise<unknown>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    this.#process.stdin?.write(`${JSON.stringify(request)}\n`);
    return (await within(limitMs, answer, `"${request.do}"`)) as Answer;
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }

  #read(line: Report | { readonly error?: string }): void {
    if ('report' in line) {
      this.onReport(line);
      return;
    }
    const waiter = this.#waiters.shift();
    if (line.error === undefined) waiter?.resolve(line);
    else waiter?.reject(new Error(line.error));
  }
}

async function within<T>(limitMs: number, work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TimedOut(`${what} took more than ${limitMs} ms`)), limitMs);
  });
  work.catch(() => {}); // when it comes too late
  return Promise.race([work, limit]).finally(() => clearTimeout(timer));
}
