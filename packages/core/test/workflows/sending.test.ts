// How a workflow is sent and picked up: what is stored and published in which order, and what the results know.

import { beforeEach, describe, expect, it } from 'vitest';
import { GroupSendError } from '../../src/errors.ts';
import { NullBackend } from '../../src/memory/null-backend.ts';
import { failed } from '../../src/outcome.ts';
import { Server } from '../../src/server.ts';
import { defineTask } from '../../src/task.ts';
import { int64, rest } from '../../src/task-types.ts';
import { chain, chord, group } from '../../src/workflow.ts';
import { expectNothingSent, type TestServer, testServer } from '../server/setup.ts';
import { refusedForGood } from '../worker/faulty-broker.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const boom = defineTask('boom', { args: rest(int64), returns: int64 });

let test: TestServer;
beforeEach(() => {
  test = testServer({ maxMessageBytes: 2_000 });
  test.server.handle(add, (_, ...terms) => terms.reduce((a, b) => a + b, 0));
  test.server.handle(boom, () => {
    throw new Error('no');
  });
});

describe('sending a workflow', () => {
  it('stores the metas of all groups, then each PENDING, and publishes last', async () => {
    const order: string[] = [];
    const { memory } = test.backend;
    test.backend.initGroup = async (meta, seconds) => {
      await memory.initGroup(meta, seconds);
      order.push(`meta of ${meta.taskUuids.length}`);
    };
    test.backend.onWrite = (writes, next) => {
      order.push(`PENDING of ${writes.map(({ state }) => state.taskName)}`);
      return next();
    };
    test.broker.onPublish = (messages, next) => {
      order.push(`message of ${messages.map(({ signature }) => signature.name)}`);
      return next();
    };
    await test.server.send(chain({ name: 'a' }, chord([{ name: 'b' }, { name: 'c' }], { name: 'd' })));
    expect(order).toEqual(['meta of 2', 'PENDING of a,b,c', 'message of a']);
  });

  it('sends the same time with a message as stands in its PENDING', async () => {
    await test.server.send(group([add(1), add(2)]));
    for (const { uuid, headers } of test.broker.published.items)
      expect((await test.backend.state(uuid as string))?.createdAt).toBe(headers?.['machinery-sent-at']);
  });

  it('counts the expiry of the meta from the latest ETA of its members', async () => {
    let kept = 0;
    test.backend.initGroup = async (_, seconds) => {
      kept = seconds;
    };
    await test.server.send(group([add(1), add(2).with({ delayMs: 100_000 })]));
    expect(kept).toBe(3_700);
  });

  it('refuses all of it while nothing is stored when one message is too large', async () => {
    const members = [add(1), { name: 'add', args: [{ type: 'string', value: 'x'.repeat(3_000) }] }];
    await expect(test.server.send(group(members))).rejects.toMatchObject({ code: 'ERR_MACHINERY_MESSAGE_TOO_LARGE' });
    expectNothingSent(test);
  });

  it('sends nothing when its signal has fired before', async () => {
    await expect(test.server.send(chain(add(1)), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_MACHINERY_ABORTED',
    });
    expectNothingSent(test);
  });

  it('names the option that is wrong', async () => {
    await expect(test.server.send(group([add(1)]), { sendConcurrency: 0 })).rejects.toThrow(
      'Options of a group: expected `sendConcurrency` to be an integer >= 1, got `0` (number)',
    );
  });

  it('gives the error of the task itself when a chain cannot be sent', async () => {
    test.broker.failPublishes(1, failed(refusedForGood(), false));
    await expect(test.server.send(chain(add(1), add.partial(2)))).rejects.toMatchObject({
      message: 'Refused for good',
    });
  });

  it('says which members of a group are published and which are not', async () => {
    test.broker.onPublish = async (messages, next) => {
      const outcomes = await next();
      return messages.map(({ signature }, i) =>
        signature.name === 'boom' ? failed(refusedForGood(), false) : (outcomes[i] as (typeof outcomes)[number]),
      );
    };
    const error = await test.server.send(group([add(1), boom(), add(2)])).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(GroupSendError);
    expect(error).toMatchObject({
      code: 'ERR_MACHINERY_GROUP_NOT_SENT',
      message: '1 of 3 tasks were not published: Refused for good',
      sent: [{ name: 'add' }, { name: 'add' }],
      unsent: [{ name: 'boom', error: { message: 'Refused for good' } }],
    });
    expect(await test.backend.state(error.unsent[0].uuid)).toMatchObject({
      state: 'FAILURE',
      error: 'It was not published: Refused for good',
    });
  });

  it('needs a backend for chords, not for groups and chains', async () => {
    const server = new Server({
      broker: test.broker,
      backend: new NullBackend(),
      logger: test.logger,
      defaultQueue: 'q',
    });
    await server.send(group([add(1), add(2)]));
    await server.send(chain(add(1), add.partial(2)));
    expect(test.broker.published.items).toHaveLength(3);
    await expect(server.send(chain(add(1), chord([add.partial()], add.partial())))).rejects.toThrow(
      'NullBackend does not support chords',
    );
  });

  it('has Go’s names for each kind', async () => {
    await test.startWorker();
    expect(await (await test.server.sendChain(chain(add(1), add.partial(2)))).get()).toBe(3);
    expect(await (await test.server.sendGroup(group([add(1), add(2)]), { sendConcurrency: 1 })).get()).toEqual([1, 2]);
    expect(await (await test.server.sendChord(chord([add(1), add(2)], add.partial()))).get()).toBe(3);
  });
});

describe('the result of a workflow', () => {
  it('of a group can be picked up by its UUID', async () => {
    await test.startWorker();
    const { groupUuid } = await test.server.send(group([add(1), add(2)]));
    expect(await (await test.server.groupResult(groupUuid, add)).get()).toEqual([1, 2]);
    await expect(test.server.groupResult('gone')).rejects.toMatchObject({ code: 'ERR_MACHINERY_GROUP_EXPIRED' });
  });

  it('tells how many tasks are done', async () => {
    const result = await test.server.send(chord([add(1), boom()], add.partial()));
    expect(await result.progress()).toEqual({ total: 3, done: 0, failed: 0 });
    await test.startWorker();
    await result.get().catch(() => {});
    expect(await result.progress()).toEqual({ total: 3, done: 3, failed: 2 });
  });

  it('settled tells what became of each member', async () => {
    await test.startWorker();
    const result = await test.server.send(group([add(1), boom(), add(2)]));
    expect(await result.settled({ timeoutMs: 1_000 })).toMatchObject([
      { status: 'fulfilled', value: 1 },
      { status: 'rejected', reason: { taskName: 'boom', error: 'no' } },
      { status: 'fulfilled', value: 2 },
    ]);
  });

  it.each([
    ['chain', () => test.server.send(chain(add(1), boom.partial(), add.partial()))],
    ['group', () => test.server.send(group([add(1), boom()]))],
    ['chord', () => test.server.send(chord([add(1), boom()], add.partial()))],
    ['chain in a chord', () => test.server.send(chord([add(1), chain(boom(), add.partial())], add.partial()))],
  ])('of a %s is the error of the task that failed, with its name and UUID', async (_, send) => {
    await test.startWorker();
    const result = await send();
    const failedTask = test.broker.published.items.find(({ name }) => name === 'boom');
    const error = await result.get({ timeoutMs: 2_000 }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_MACHINERY_TASK_FAILED', taskName: 'boom', error: 'no' });
    if (failedTask !== undefined) expect(error.taskUuid).toBe(failedTask.uuid);
  });

  it.each([
    ['chain', () => test.server.send(chain(add(1), add.partial()))],
    ['group', () => test.server.send(group([add(1), add(2)]))],
    ['chord', () => test.server.send(chord([add(1)], add.partial()))],
  ])('of a %s can be waited for with a limit, and until a signal fires', async (_, send) => {
    const result = await send();
    await expect(result.get({ timeoutMs: 5 })).rejects.toMatchObject({ code: 'ERR_MACHINERY_RESULT_TIMEOUT' });
    await expect(result.get({ signal: AbortSignal.abort('enough') })).rejects.toMatchObject({
      code: 'ERR_MACHINERY_ABORTED',
      cause: 'enough',
    });
    await expect(result.get({ timeoutMs: -1 })).rejects.toMatchObject({ code: 'ERR_MACHINERY_INVALID_OPTION' });
  });

  it('of a chain does not mind that the states of early steps are gone', async () => {
    await test.startWorker();
    const result = await test.server.send(chain(add(1), add.partial(2), add.partial(3)));
    const [first, second] = result.tasks;
    await test.backend.final(result.tasks[2]?.uuid as string);
    await test.backend.purge({ tasks: [first?.uuid as string, second?.uuid as string] });
    expect(await result.get({ timeoutMs: 1_000 })).toBe(6);
  });
});
