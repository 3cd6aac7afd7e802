// Workers in processes of their own: signals, and what ends a process and what does not.

import { describe, expect, it } from 'vitest';
import { runProgram } from './child-program.ts';

describe('launch', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)(
    'waits for the running task after one %s, then the process ends by itself',
    async (signal) => {
      const { process: child, lines, exit } = runProgram('launched', 'waits');
      await lines.first((line) => line === 'started');
      child.kill(signal);
      await lines.first((line) => line.startsWith(`${signal}: worker worker stops`));
      child.stdin?.write('end\n');
      expect(await exit).toEqual({ code: 0, signal: null });
      expect(lines.items.slice(-3)).toEqual(['ended', 'state SUCCESS', 'waiting 0']);
    },
  );

  it.each([
    ['SIGINT', 'SIGINT'],
    ['SIGTERM', 'SIGINT'],
  ] as const)(
    'aborts the running task after %s and %s and gives it back, then the process ends by itself',
    async (first, second) => {
      const { process: child, lines, exit } = runProgram('launched', 'aborts');
      await lines.first((line) => line === 'started');
      child.kill(first);
      await lines.first((line) => line.startsWith(`${first}: worker`));
      child.kill(second);
      expect(await exit).toEqual({ code: 0, signal: null });
      expect(lines.items.slice(-1)).toEqual(['waiting 1']);
      expect(lines.items).not.toContain('ended');
    },
  );
});

describe('a process with a worker lives on when', () => {
  it.each([
    'tasks leave promises rejected and throw from timers',
    'errorHandler rejects',
    'preTaskHandler rejects',
    'postTaskHandler rejects',
    'preConsumeHandler rejects',
    'abort listener throws',
    'abort listener rejects',
  ])('%s', async (name) => {
    const { lines, errors, exit } = runProgram('stray', name);
    expect({ ...(await exit), errors: errors.join('') }).toEqual({ code: 0, signal: null, errors: '' });
    expect(lines.items).toEqual(['survived']);
  });
});

describe('a process with a worker ends as usual when something that is no task is', () => {
  it.each(['uncaught', 'rejected', 'uncaught after a worker that could not start'])('%s', async (name) => {
    const { lines, errors, exit } = runProgram('stray', name);
    expect(await exit).toEqual({ code: 1, signal: null });
    expect(errors.join('')).toContain('Error: not of a task');
    expect(errors.join('')).toContain('stray.mjs');
    expect(lines.items).toEqual([]);
  });
});
