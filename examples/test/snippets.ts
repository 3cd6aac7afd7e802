// The code blocks of the pages: what they show compiles, runs and prints what it says.

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll } from 'vitest';

const examples = fileURLToPath(new URL('..', import.meta.url));
const root = join(examples, '..');

/** The code blocks of a page in one language. */
export function snippets(page: string, language = 'ts'): string[] {
  const blocks = readFileSync(join(root, page), 'utf8').matchAll(/```(\w+)\n(.*?)```/gs);
  return [...blocks].flatMap(([, name, code]) => (name === language ? [code as string] : []));
}

/** An empty folder inside of examples, so that the packages resolve, for the tests of one file. */
export function snippetFolder(name: string): string {
  const folder = join(examples, 'dist', name);
  const clear = () => rmSync(folder, { recursive: true, force: true });
  beforeAll(() => {
    clear();
    mkdirSync(folder, { recursive: true });
  });
  afterAll(clear);
  return folder;
}

/** Compiles a program in a folder as a user's tsc does, and answers its path. */
export function compile(folder: string, name: string, code: string): string {
  writeFileSync(join(folder, `${name}.ts`), code);
  const options =
    '--ignoreConfig --module nodenext --target es2023 --lib es2023,esnext.disposable --strict --types node';
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  try {
    execFileSync(process.execPath, [tsc, ...options.split(' '), join(folder, `${name}.ts`)], { cwd: examples });
  } catch (error) {
    throw new Error((error as { stdout: Buffer }).stdout.toString());
  }
  return join(folder, `${name}.js`);
}

/** What the comments behind `console.log` say that a program prints; more may be said after a colon. */
export function printed(code: string): RegExp[] {
  return [...code.matchAll(/^\s*console\.log\(.*\); \/\/ (.*)$/gm)].map(([, comment]) => {
    const text = (comment as string).replace(/[[\](){}.*+?^$|\\]/g, '\\$&').replace(/(: .*)$/, '(?:$1)?');
    return new RegExp(`^${text}$`);
  });
}

/** Runs a compiled program and answers the lines that it prints. */
export function run(program: string, ...options: string[]): string[] {
  return execFileSync(process.execPath, [...options, program])
    .toString()
    .trimEnd()
    .split('\n');
}
