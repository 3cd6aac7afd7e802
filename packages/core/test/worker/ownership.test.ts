// A consumer whose delivery went to another one: the task is let go, whatever it came to here.

import { beforeEach, expect, it } from 'vitest';
import type { Consumer } from '../../src/broker.ts';
import { brokerAway } from './faulty-broker.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
let runs: number;
beforeEach(() => {
  test = testServer();
  runs = 0;
  test.server.registerTask('work', () => ++runs);
});

/** Consumers that answer so when they are asked whether a delivery is still theirs. */
function answerOwns(owns: () => boolean | Promise<boolean>): void {
  test.broker.onConsume = async (next): Promise<Consumer> => Object.assign(await next(), { owns });
}

it('stores nothing and sends no callback when the message is no longer its own', async () => {
  answerOwns(() => false);
  await test.startWorker();
  await test.server.send({ name: 'work', uuid: 'task_w', onSuccess: [{ name: 'next' }] });
  await test.logger.first(({ level, text }) => level === 'warn' && text.includes('another worker'));
  expect(test.backend.statesOf('task_w')).toEqual(['PENDING']);
  expect(test.broker.published.items).toHaveLength(1);
});

it('waits for an answer while the server cannot be asked, and runs the task once', async () => {
  let away = 2;
  answerOwns(async () => {
    if (away-- > 0) throw brokerAway();
    return true;
  });
  await test.startWorker();
  await test.server.send({ name: 'work', uuid: 'task_w' });
  expect(await test.backend.final('task_w')).toMatchObject({ state: 'SUCCESS' });
  expect(runs).toBe(1);
});
