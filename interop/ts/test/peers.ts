// The two programs, as processes of a test.

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { findGo } from '@machinery/services';

const folder = join(import.meta.dirname, '../..');
const goBinary = join(folder, 'go/dist/peer');

export type Language = 'Go' | 'TypeScript';

const commands: Readonly<Record<Language, readonly string[]>> = {
  Go: [goBinary],
  TypeScript: [process.execPath, join(folder, 'ts/peer.js')],
};

/** Where Go is; undefined, with a line, where it is not. */
export function findGoOrSay(): string | undefined {
  const found = findGo();
  if (found === undefined) console.warn('Skipped: Go is not there: what Go Machinery takes part in is not tested');
  return found;
}

export class Peer {
  stdout = '';
  stderr = '';
  /** Resolves with the exit code when it has ended. */
  readonly ended: Promise<number | null>;
  readonly #process: ChildProcess;
  #onOutput = () => {};

  constructor(language: Language, args: readonly string[], env: NodeJS.ProcessEnv) {
    const [program = '', ...first] = commands[language];
    const child = spawn(program, [...first, ...args], { stdio: 'pipe', env: { ...process.env, ...env } });
    this.#process = child;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      this.#onOutput();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject).once('close', resolve);
    });
  }

  /** Resolves when it has printed the text; rejects when it ends before. */
  async printed(text: string): Promise<void> {
    const printed = new Promise<void>((resolve) => {
      this.#onOutput = () => {
        if (this.stdout.includes(text)) resolve();
      };
      this.#onOutput();
    });
    const tooEarly = this.ended.then((code) => {
      throw new Error(`It ended with ${code} before it printed ${text}:\n${this.stderr}`);
    });
    await Promise.race([printed, tooEarly]);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

/** Those of a test file, which end with it, however it ends. */
export class Peers {
  readonly #peers: Peer[] = [];
  readonly #kill = () => {
    for (const peer of this.#peers) peer.kill();
  };

  constructor() {
    process.once('exit', this.#kill);
  }

  start(language: Language, args: readonly string[], env: NodeJS.ProcessEnv = {}): Peer {
    const peer = new Peer(language, args, env);
    this.#peers.push(peer);
    return peer;
  }

  async end(): Promise<void> {
    this.#kill();
    await Promise.all(this.#peers.map((peer) => peer.ended));
    process.off('exit', this.#kill);
  }
}
