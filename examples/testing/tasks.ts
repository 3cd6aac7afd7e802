// What a shop might have: mails about orders, which are tried again, and a nightly reminder of what is unpaid. The same
// tests of it for each test runner are beside it: vitest.test.ts, jest.test.ts, node.test.ts.

import { defineTask, int64, json, type Server, string } from '@machinery/core';

export interface Order {
  readonly id: number;
  readonly email: string;
  readonly paid: boolean;
}

export const total = defineTask('total', { args: [json<Order[]>()], returns: int64 });
export const sendMail = defineTask('send_mail', {
  args: [string, string],
  queue: 'mails',
  retries: 3,
  backoff: { delayMs: 60_000 },
});
export const remind = defineTask('remind');

/** What the handlers need of the world outside. */
export interface Outside {
  unpaidOrders(): Promise<Order[]>;
  mail(to: string, text: string): Promise<void>;
}

/** Registers the handlers and the nightly job, with a real server as with one of a test. */
export function register(server: Server, outside: Outside): void {
  server.handle(total, (_task, orders) => orders.length);
  server.handle(sendMail, (_task, to, text) => outside.mail(to, text));
  server.handle(remind, async () => {
    for (const { id, email } of await outside.unpaidOrders())
      await server.send(sendMail(email, `Order ${id} is not paid yet`));
  });
  server.registerPeriodicTask('CRON_TZ=Europe/Berlin 0 6 * * *', 'remind', remind());
}
