// A Node program in a process of its own, which tells its parent what happens and can be killed at any time.

import { type ChildProcess, fork } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export interface NodeProgramOptions<Report> {
  /** The file URL of JavaScript that this Node runs as it is. */
  readonly program: string | URL;
  /** Its only argument, as JSON. */
  readonly config: unknown;
  /** Is given what it sends with `process.send`. */
  readonly onReport: (report: Report) => void;
}

/** A running one. It should end when it is disconnected: its parent is gone. */
export class NodeProgram<Report> {
  /** Resolves, with its exit code or the signal, when it has ended and all that it reported is here. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #process: ChildProcess;

  constructor({ program, config, onReport }: NodeProgramOptions<Report>) {
    const stdio: ('ignore' | 'inherit' | 'ipc')[] = ['ignore', 'inherit', 'inherit', 'ipc'];
    const child = fork(fileURLToPath(program), [JSON.stringify(config)], { stdio, execArgv: [] });
    this.#process = child;
    child.on('message', (report) => onReport(report as Report));
    const kill = () => child.kill('SIGKILL');
    process.once('exit', kill);
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        process.off('exit', kill);
        resolve(code ?? (signal as NodeJS.Signals));
      });
    });
    this.ended.catch(() => {}); // awaited later
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  send(message: object): void {
    this.#process.send(message, () => {}); // it may be dead
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#process.kill(signal);
    if (signal === 'SIGKILL') await this.ended;
  }

  /** Asks it to end with SIGTERM, and answers how it did. */
  stop(): Promise<number | NodeJS.Signals> {
    this.#process.kill('SIGTERM');
    return this.ended;
  }
}
