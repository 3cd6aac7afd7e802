// The tests of `tasks.ts` with Jest, which needs a flag of Node for ES modules: NODE_OPTIONS=--experimental-vm-modules

import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
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
  expect(await server.run(total([{ id: 7, email: 'ada@example.com', paid: true }]))).toBe(1);
});

test('a mail is tried again after a minute', async () => {
  failures = 1;
  const result = await server.send(sendMail('ada@example.com', 'Thank you'));
  expect(await server.advance(59_999)).toBe(1);
  expect(mails).toEqual([]);
  expect(await server.advance(1)).toBe(1);
  expect(mails).toEqual(['ada@example.com: Thank you']);
  await result.get();
});

test('a mail server that stays away is a failure', async () => {
  failures = 4;
  const log = jest.spyOn(console, 'error').mockImplementation(() => {});
  const result = await server.send(sendMail('ada@example.com', 'Thank you'));
  expect(await server.drain()).toBe(4);
  expect(log).toHaveBeenCalledTimes(1);
  log.mockRestore();
  await expect(result.get()).rejects.toMatchObject({
    code: 'ERR_MACHINERY_TASK_FAILED',
    message: 'The mail server is away',
  });
});

test('what a task sends', async () => {
  await server.run(remind());
  expect(server.sent(sendMail)).toMatchObject([
    { args: ['ada@example.com', 'Order 7 is not paid yet'], queue: 'mails' },
  ]);
});

test('reminders go out at six in the morning, in Berlin', async () => {
  await server.advance(5 * 3_600_000 - 1);
  expect(mails).toEqual([]);
  await server.advance(1);
  expect(mails).toEqual(['ada@example.com: Order 7 is not paid yet']);
  await server.advance(24 * 3_600_000);
  expect(mails.length).toBe(2);
});
