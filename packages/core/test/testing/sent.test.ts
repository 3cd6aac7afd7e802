// `sent`: everything that was sent, in order, without the retries.

import { beforeEach, describe, expect, expectTypeOf, it, onTestFinished } from 'vitest';
import { chain, chord, defineTask, group, int64, json, RetryLater, rest, string } from '../../src/index.ts';
import { type Sent, type TestServer, testServer } from '../../src/testing/index.ts';
import { errorLike, thrownBy } from '../server/setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const notify = defineTask('notify', { args: [string, json<{ at: string }>()], queue: 'mails' });
const report = defineTask('report', { args: [string] });

let server: TestServer;
beforeEach(() => {
  server = testServer({ now: new Date('2027-01-01T00:00:00Z'), logger: { ...console, error() {}, warn() {} } });
  onTestFinished(() => server.close());
});
const names = () => server.sent().map(({ name }) => name);

it('starts empty, and has what was sent before it has run', async () => {
  expect(server.sent()).toEqual([]);
  const result = await server.send(add(1, 2));
  expect(server.sent()).toMatchObject([
    { name: 'add', uuid: result.uuid, queue: 'machinery_tasks', args: [1, 2], eta: undefined },
  ]);
});

it('has the arguments as the handler gets them, with their types', async () => {
  await server.send(notify('you', { at: '12:00' }));
  await server.send(add(1));
  const [first, ...more] = server.sent(notify);
  expect(more).toEqual([]);
  expectTypeOf(first?.args).toEqualTypeOf<[string, { at: string }] | undefined>();
  expect(first?.args).toEqual(['you', { at: '12:00' }]);
});

it('has JSON of a registered task as a value, and of one that is not as its text', async () => {
  await server.send(notify('you', { at: '12:00' }));
  expect(server.sent()[0]?.args).toEqual(['you', '{"at":"12:00"}']);
  server.handle(notify, () => {});
  expect(server.sent()[0]?.args).toEqual(['you', { at: '12:00' }]);
});

it('is asked for by name, too', async () => {
  await server.send({ name: 'of_another_program', args: [{ type: 'int64', value: 5 }] });
  await server.send(add(1));
  expectTypeOf(server.sent('of_another_program')).toEqualTypeOf<Sent[]>();
  expect(server.sent('of_another_program')).toMatchObject([{ args: [5] }]);
  expect(server.sent('never')).toEqual([]);
});

it('has ETA, queue, headers and the whole signature', async () => {
  await server.send(report('x'), { delayMs: 60_000, queue: 'q', headers: { tenant: 'a' }, retries: 2, priority: 3 });
  await server.send(report('y'), { eta: new Date('2027-01-02T00:00:00Z') });
  const [first, second] = server.sent(report);
  expect(first).toMatchObject({
    queue: 'q',
    eta: new Date('2027-01-01T00:01:00Z'),
    signature: { name: 'report', headers: { tenant: 'a' }, retryCount: 2, priority: 3, routingKey: 'q' },
  });
  expect(second?.eta).toEqual(new Date('2027-01-02T00:00:00Z'));
});

it('leaves out retries and RetryLater, however many', async () => {
  server.handle(report, (task) => {
    if (task.attempt < 3) throw task.attempt === 1 ? new RetryLater(5_000) : new Error('no');
  });
  await server.send(report('x'), { retries: 1 });
  expect(await server.drain()).toBe(3);
  expect(names()).toEqual(['report']);
});

it('has follow-ups with what was appended, in the order of sending', async () => {
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  server.handle(report, () => {
    throw new Error('no');
  });
  await server.send(add(1, 2), { onSuccess: [add.partial(10), add.partial(20)] });
  await server.send(report('x'), { onError: [report.partial()] });
  await server.drain();
  expect(server.sent(add).map(({ args }) => args)).toEqual([
    [1, 2],
    [10, 3],
    [20, 3],
  ]);
  expect(server.sent(report).map(({ args }) => args)).toEqual([['x'], ['no']]);
  expect(names().slice(0, 2)).toEqual(['add', 'report']);
});

it('has the members of workflows, and what they lead to once they have run', async () => {
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
  await server.send(chord([add(1), add(2)], add.partial(100)));
  await server.send(group([add(5), add(6)]));
  await server.send(chain(add(7), add.partial(1)));
  expect(server.sent(add).map(({ args }) => args)).toEqual([[1], [2], [5], [6], [7]]);
  await server.drain();
  expect(server.sent(add).map(({ args }) => args)).toHaveLength(7);
  expect(server.sent(add).map(({ args }) => args)).toEqual(
    expect.arrayContaining([
      [100, 1, 2],
      [1, 7],
    ]),
  );
});

it('has nothing that could not be sent', async () => {
  await thrownBy(() => server.send(add(1), { signal: AbortSignal.abort() }));
  await thrownBy(() => server.send({ name: 'x', args: [{ type: 'no such type', value: 1 }] }));
  expect(server.sent()).toEqual([]);
});

it('has what a prePublishHandler made of it', async () => {
  server = testServer({
    prePublishHandler: (signature) => ({ ...signature, headers: { ...signature.headers, a: '1' } }),
  });
  await server.send(add(1));
  expect(server.sent()[0]?.signature.headers).toMatchObject({ a: '1' });
});

it('stays readable after close', async () => {
  await server.send(add(1));
  await server.close();
  expect(names()).toEqual(['add']);
});

describe('a message that does not fit its task', () => {
  const wrong = { name: 'add', args: [{ type: 'string', value: 'x' }] };

  it('is listed all the same when all are asked for', async () => {
    server.handle(add, () => 0);
    await server.send(wrong);
    expect(server.sent()).toMatchObject([{ name: 'add' }]);
  });

  it('is an error that names the task when its arguments are asked for by their types', async () => {
    await server.send(wrong);
    expect(await thrownBy(() => server.sent(add)[0]?.args)).toEqual(errorLike('ERR_MACHINERY_INVALID_ARGUMENT', /add/));
  });
});

it.each<[unknown, string]>([
  [5, 'sent: expected a task made by defineTask, or a name, got `5` (number)'],
  [null, 'sent: expected a task made by defineTask, or a name, got `null` (null)'],
  [add(1), /^sent: expected a task made by defineTask, or a name, got `\{"name":"add"/ as never],
])('refuses %o', async (task, message) => {
  expect(await thrownBy(() => server.sent(task as never))).toEqual(errorLike('ERR_MACHINERY_INVALID_OPTION', message));
});
