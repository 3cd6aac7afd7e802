// The tests of `tasks.ts` with Node's own runner: node --test examples/dist/testing/node.test.js

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { type TestServer, testServer } from '@machinery/core/testing';
import { register, remind, sendMail, total } from './tasks.ts';

let server: TestServer;
let mails: string[];
let failures: number;

beforeEach(() => {
  server = testServer({ now: new Date('2027-01-01T00:00:00Z') });
  mails = [];
  failures = 0;
  register(server, {
    unpaidOrders: async () => [{ id: 7, email: 'ada@example.com', paid: false }],
    async mail(to, text) {
      if (failures-- > 0) throw new Error('The mail server is away');
      mails.push(`${to}: ${text}`);
    },
  });
});
afterEach(() => server.close());

test('one handler, by itself', async () => {
  assert.equal(await server.run(total([{ id: 7, email: 'ada@example.com', paid: true }])), 1);
});

test('a mail is tried again after a minute', async () => {
  failures = 1;
  const result = await server.send(sendMail('ada@example.com', 'Thank you'));
  assert.equal(await server.advance(59_999), 1);
  assert.deepEqual(mails, []);
  assert.equal(await server.advance(1), 1);
  assert.deepEqual(mails, ['ada@example.com: Thank you']);
  await result.get();
});

test('a mail server that stays away is a failure', async () => {
  failures = 4;
  const error = console.error;
  console.error = () => {};
  const result = await server.send(sendMail('ada@example.com', 'Thank you'));
  assert.equal(await server.drain(), 4);
  console.error = error;
  await assert.rejects(result.get(), { code: 'ERR_MACHINERY_TASK_FAILED', message: 'The mail server is away' });
});

test('what a task sends', async () => {
  await server.run(remind());
  assert.deepEqual(
    server.sent(sendMail).map(({ args, queue }) => [...args, queue]),
    [['ada@example.com', 'Order 7 is not paid yet', 'mails']],
  );
});

test('reminders go out at six in the morning, in Berlin', async () => {
  await server.advance(5 * 3_600_000 - 1);
  assert.deepEqual(mails, []);
  await server.advance(1);
  assert.deepEqual(mails, ['ada@example.com: Order 7 is not paid yet']);
  await server.advance(24 * 3_600_000);
  assert.equal(mails.length, 2);
});
