// What is logged of tasks, and to loggers of other kinds.

import { expect, it } from 'vitest';
import { structuredLogger } from '../../src/logger.ts';
import { testServer } from './test-server.ts';

it('a failed task is one line, with its name, UUID, attempt, queue and error; a retry, too', async () => {
  const test = testServer();
  const error = new Error('no');
  test.server.registerTask('fail', () => {
    throw error;
  });
  await test.startWorker();
  const result = await test.server.send({ name: 'fail', retryCount: 1, headers: { 'machinery-backoff': '0' } });
  await expect(result.get({ timeoutMs: 4_000 })).rejects.toThrow('no');
  const fields = { task: 'fail', uuid: result.uuid, queue: 'q', err: error };
  expect(test.logger.items.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([
    {
      level: 'warn',
      text: expect.stringMatching(/^Task fail .* is tried again/),
      details: [{ ...fields, attempt: 1 }],
    },
    { level: 'error', text: `Task fail (${result.uuid}) failed: no`, details: [{ ...fields, attempt: 2 }] },
  ]);
});

it('loggers of fields get an error as `err`, objects as they are, and the text', () => {
  const lines: unknown[] = [];
  const log = (fields: object, message: string) => void lines.push([fields, message]);
  const logger = structuredLogger({ debug: log, info: log, warn: log, error: log });
  const err = new Error('no');
  logger.info('plain');
  logger.warn('with an error', err);
  logger.error('with fields', { task: 'add', err });
  logger.debug('with a text', 'more');
  expect(lines).toEqual([
    [{}, 'plain'],
    [{ err }, 'with an error'],
    [{ task: 'add', err }, 'with fields'],
    [{ detail: 'more' }, 'with a text'],
  ]);
});
