// The life of a periodic entry: what is refused, when it is due, pausing and removing, and functions that make what is sent.

import { beforeEach, describe, expect, it, vi } from 'vitest';
import { type Clock, chain, chord, defineTask, group, int64, Server, string } from '../../src/index.ts';
import { errorLike, gate, RecordingLogger, thrownBy } from '../server/setup.ts';
import { FaultyBackend } from '../worker/faulty-backend.ts';
import { FaultyBroker } from '../worker/faulty-broker.ts';
import { MapLock, ms, type Scheduler, scheduler } from './setup.ts';

const nightly = defineTask('nightly');
const report = defineTask('report', { args: [string] });
const add = defineTask('add', { args: [int64, int64], returns: int64 });
const minutely = '* * * * *';

let test: Scheduler;
beforeEach(() => {
  test = scheduler();
});

/** What `registerPeriodicTask` and its like throw, whatever the compiler says. */
const refusal = (method: 'Task' | 'Chain' | 'Group' | 'Chord', ...args: unknown[]) =>
  thrownBy(() => (test.server[`registerPeriodic${method}`] as (...args: unknown[]) => unknown)(...args));
const invalidOption = (message: string) => errorLike('ERR_MACHINERY_INVALID_OPTION', message);
const invalidSignature = (message: string) => errorLike('ERR_MACHINERY_INVALID_SIGNATURE', message);

describe('registering is refused at once', () => {
  it('for an entry whose lock would be that of another one, which would never be sent', async () => {
    test.server.registerPeriodicTask('15 3 * * *', 'job1', nightly());
    expect(await refusal('Task', '5 3 * * *', 'job11', nightly())).toEqual(
      invalidOption(
        'Periodic entry job11 would share the lock machinery_lock_billingjob115 3 * * * with entry job1 (15 3 * * *), so that only one of them is sent: choose another name',
      ),
    );
  });

  const noSpec = 'Periodic entry n: expected a cron spec such as `0 6 * * *`, got';
  it.each<[unknown, string]>([
    [
      '61 * * * *',
      'Periodic entry n: `61 * * * *` is no cron spec: end of range (61) above maximum (59): 61 (minute: 0 to 59)',
    ],
    ['', 'Periodic entry n: `` is no cron spec: empty spec string'],
    [undefined, `${noSpec} \`undefined\` (undefined)`],
    [60_000, `${noSpec} \`60000\` (number)`],
    [new String(minutely), `${noSpec} \`"* * * * *"\` (object)`],
  ])('for the spec %j', async (spec, message) => {
    for (const method of ['Task', 'Chain', 'Group', 'Chord'] as const) {
      const what = { Task: nightly(), Chain: chain(nightly()), Group: group([]), Chord: chord([], nightly()) }[method];
      expect(await refusal(method, spec, 'n', what)).toEqual(invalidOption(message));
    }
  });

  it.each([
    ['', '`` (string)'],
    [undefined, '`undefined` (undefined)'],
    [5, '`5` (number)'],
  ])('for the name %j', async (name, shown) => {
    expect(await refusal('Task', minutely, name, nightly())).toEqual(
      invalidOption(`Expected the name of a periodic entry to be a string that is not empty, got ${shown}`),
    );
  });

  it('for a name that is taken, by any kind of entry', async () => {
    const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
    const text = 'There is a periodic entry n already: remove it first, or choose another name';
    expect(await refusal('Task', '0 6 * * *', 'n', nightly())).toEqual(invalidOption(text));
    expect(await refusal('Group', minutely, 'n', group([nightly()]))).toEqual(invalidOption(text));
    expect(test.server.periodic.entries()).toEqual([entry]);
  });

  it('without a lock', async () => {
    test = scheduler({ lock: undefined as never });
    expect(await refusal('Task', minutely, 'n', nightly())).toEqual(
      invalidOption(
        'Periodic entry n needs a lock, so that one of many schedulers sends it: give the Server the `lock` that its ' +
          'processes share, or `new EagerLock()` of @machinery/lock-eager when there is only this process',
      ),
    );
  });

  it.each<[string, unknown, string, string]>([
    ['nothing', undefined, 'SIGNATURE', 'Expected a signature, got `undefined` (undefined)'],
    ['a text', 'nightly', 'SIGNATURE', 'Expected a signature, got `nightly` (string)'],
    [
      'an array',
      [nightly()],
      'SIGNATURE',
      'Expected a signature, got `[{"name":"nightly","args":[],"definition":{}}]` (array): make it a workflow with chain, group or chord',
    ],
    ['no name', {}, 'SIGNATURE', 'Expected `name` to be a string that is not empty, got `undefined` (undefined)'],
    [
      'a bad field',
      { name: 'n', priority: 256 },
      'SIGNATURE',
      'Task n: expected `priority` to be an integer >= 0 and <= 255, got `256` (number)',
    ],
    [
      'a bad argument',
      { name: 'n', args: [{ type: 'date', value: 1 }] },
      'ARGUMENT',
      'Task n: `args[0]`: date is not one of supported types',
    ],
    ['a definition that takes arguments', report, 'ARGUMENT', 'Task report takes 1 argument(s), got 0'],
    ['a chain', chain(nightly()), 'OPTION', 'Periodic entry n: expected a task, got a chain'],
    ['a group', group([nightly()]), 'OPTION', 'Periodic entry n: expected a task, got a group'],
    ['a chord', chord([nightly()], nightly()), 'OPTION', 'Periodic entry n: expected a task, got a chord'],
  ])('for %s in place of a task', async (_, what, kind, message) => {
    expect(await refusal('Task', minutely, 'n', what)).toEqual(
      errorLike(`ERR_MACHINERY_INVALID_${kind}` as 'ERR_MACHINERY_INVALID_OPTION', message),
    );
    expect(test.server.periodic.entries()).toEqual([]);
  });

  it('for another kind of workflow, or a task in place of one', async () => {
    const kinds = {
      chain: chain(nightly()),
      group: group([nightly()]),
      chord: chord([nightly()], nightly()),
      task: nightly(),
    };
    for (const method of ['Chain', 'Group', 'Chord'] as const)
      for (const [kind, what] of Object.entries(kinds)) {
        const expected = method.toLowerCase();
        if (kind === expected) continue;
        const text = `Periodic entry n: expected a ${expected}, got a ${kind}`;
        expect(await refusal(method, minutely, 'n', what)).toEqual(invalidOption(text));
      }
    expect(await refusal('Chain', minutely, 'n', nightly)).toEqual(
      invalidOption('Periodic entry n: expected a chain, got a task'),
    );
  });

  it('for a workflow that can never be sent', async () => {
    expect(await refusal('Chain', minutely, 'n', { kind: 'chain', steps: [] })).toEqual(
      invalidSignature('A chain needs at least one task'),
    );
    const twice = { name: 'a', uuid: 'u' };
    expect(await refusal('Group', minutely, 'n', group([twice, twice]))).toEqual(
      invalidSignature('Task a has the UUID u, and so has another task of the workflow'),
    );
    expect(
      await refusal('Chord', minutely, 'n', chord([nightly()], { name: 'end', args: [{ type: 'int64', value: 'x' }] })),
    ).toMatchObject({ code: 'ERR_MACHINERY_INVALID_ARGUMENT' });
  });

  it('for wrong options', async () => {
    expect(await thrownBy(() => scheduler({ programName: '' }))).toEqual(
      invalidOption('Server: expected `programName` to be a string that is not empty, got `` (string)'),
    );
    const members = group([nightly()]);
    expect(await refusal('Group', minutely, 'n', members, { sendConcurrency: 0 })).toEqual(
      invalidOption('Options of periodic entry n: expected `sendConcurrency` to be an integer >= 1, got `0` (number)'),
    );
    expect(await refusal('Chord', minutely, 'n', chord(members, nightly()), { signal: 5 })).toEqual(
      invalidOption('Options of periodic entry n: unknown option `signal`, known are sendConcurrency'),
    );
    expect(await refusal('Group', minutely, 'n', members, null)).toEqual(
      invalidOption('Options of periodic entry n: expected its options to be an object, got `null` (null)'),
    );
  });

  it('after close', async () => {
    await test.server.close();
    for (const [method, what] of [
      ['Task', nightly()],
      ['Chain', chain(nightly())],
      ['Group', group([nightly()])],
      ['Chord', chord([nightly()], nightly())],
    ] as const)
      expect(await refusal(method, minutely, 'n', what)).toEqual(
        errorLike('ERR_MACHINERY_CLOSED', 'The server is closed'),
      );
  });

  it('and leaves nothing behind: no entry, no alarm, the name free', async () => {
    await refusal('Task', '61 * * * *', 'n', nightly());
    await refusal('Task', minutely, 'n', report);
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
    test.server.registerPeriodicTask('@every 1s', 'n', nightly);
    expect(test.server.periodic.entries()).toHaveLength(1);
  });
});

describe('an entry', () => {
  it('says its name, its spec and when it is due next', async () => {
    const entry = test.server.registerPeriodicTask('*/5 * * * *', 'n', nightly);
    expect(entry).toMatchObject({ name: 'n', spec: '*/5 * * * *', paused: false });
    expect(entry.next).toEqual(new Date('2026-11-21T08:10:00Z'));
    await test.tick();
    expect(entry.next).toEqual(new Date('2026-11-21T08:15:00Z'));
  });

  it('is listed in the order of registration', () => {
    const entries = ['c', 'a', 'b'].map((name) => test.server.registerPeriodicTask(minutely, name, nightly));
    expect(test.server.periodic.entries()).toEqual(entries);
    test.server.periodic.entries().pop();
    expect(test.server.periodic.entries()).toHaveLength(3);
    entries[0]?.remove();
    expect(test.server.periodic.entries().map(({ name }) => name)).toEqual(['a', 'b']);
  });

  it('of `@every` is due that long after its registration, in whole seconds, and then again', async () => {
    const entry = test.server.registerPeriodicTask('@every 1m30s', 'n', nightly);
    expect(entry.next).toEqual(new Date('2026-11-21T08:08:33Z'));
    expect([await test.tick(), await test.tick()]).toEqual(['2026-11-21T08:08:33.000Z', '2026-11-21T08:10:03.000Z']);
    expect(test.sent()).toHaveLength(2);
  });

  it('that is never due is warned of, listed, and can be removed', async () => {
    const entry = test.server.registerPeriodicTask('0 0 30 2 *', 'n', nightly);
    expect(entry.next).toBeUndefined();
    expect(test.logger.texts('warn')).toEqual([
      'Periodic entry n is never due: `0 0 30 2 *` fits no time of the next years',
    ]);
    expect(test.server.periodic.entries()).toEqual([entry]);
    entry.pause();
    entry.resume();
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
    entry.remove();
    expect(test.server.periodic.entries()).toEqual([]);
  });

  it('sends nothing while it is paused, and waits for the next tick from its resumption on', async () => {
    const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
    entry.pause();
    expect([entry.paused, entry.next]).toEqual([true, undefined]);
    entry.pause();
    expect(test.clock.ringNext(ms('2026-11-21T08:20:30Z'))).toBe(false);
    expect(test.server.periodic.entries()).toEqual([entry]);
    entry.resume();
    expect([entry.paused, entry.next]).toEqual([false, new Date('2026-11-21T08:21:00Z')]);
    entry.resume();
    expect(await test.tick()).toBe('2026-11-21T08:21:00.000Z');
    expect(test.sent()).toHaveLength(1);
    expect(test.lock.asked.items).toHaveLength(1);
  });

  it('that is removed sends nothing any more, for good', async () => {
    const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
    await test.tick();
    entry.remove();
    expect([entry.paused, entry.next, test.server.periodic.entries()]).toEqual([false, undefined, []]);
    entry.pause();
    entry.resume();
    expect([entry.paused, entry.next]).toEqual([false, undefined]);
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
    expect(test.sent()).toHaveLength(1);
  });

  it('can be removed while it is paused', () => {
    const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
    entry.pause();
    entry.remove();
    entry.resume();
    expect([entry.paused, entry.next, test.server.periodic.entries()]).toEqual([false, undefined, []]);
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  it('frees its name, and being removed again does not touch the next one that has it', async () => {
    const first = test.server.registerPeriodicTask(minutely, 'n', { name: 'first' });
    first.remove();
    const second = test.server.registerPeriodicTask('*/2 * * * *', 'n', { name: 'second' });
    first.remove();
    first.resume();
    expect(test.server.periodic.entries()).toEqual([second]);
    expect(await test.tick()).toBe('2026-11-21T08:08:00.000Z');
    expect(test.sent()).toMatchObject([{ name: 'second' }]);
  });

  it('finishes the tick that it is in when it is paused or removed meanwhile', async () => {
    for (const end of ['pause', 'remove'] as const) {
      const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
      const { opened, open } = gate();
      test.lock.onAcquire = (next) => opened.then(next);
      test.clock.ringNext(Number.MAX_SAFE_INTEGER);
      entry[end]();
      open();
      await test.server.periodic.settled();
      expect(test.sent()).toHaveLength(1);
      expect(entry.next).toBeUndefined();
      entry.remove();
    }
  });

  it('that pauses or removes itself as its tick is made is not due again', async () => {
    for (const end of ['pause', 'remove'] as const) {
      const entry = test.server.registerPeriodicTask(minutely, end, () => {
        entry[end]();
        return nightly();
      });
    }
    await test.tick();
    await test.tick();
    expect(test.sent()).toHaveLength(2);
    expect(test.clock.ringNext(Number.MAX_SAFE_INTEGER)).toBe(false);
  });
});

describe('ticks that were missed', () => {
  it('are sent once, late, and the next one is counted from then', async () => {
    let behindMs = 0;
    const time = test.clock;
    const clock: Clock = {
      now: () => time.now() + behindMs,
      wakeAt: (timeMs, callback) => time.wakeAt(timeMs, callback),
    };
    const [broker, backend, lock] = [new FaultyBroker({ clock }), new FaultyBackend(), new MapLock(() => clock.now())];
    await using server = new Server({ broker, backend, lock, clock, programName: 'p', logger: new RecordingLogger() });
    const entry = server.registerPeriodicTask('*/5 * * * *', 'n', nightly);
    behindMs = 3_600_000; // the process was stopped for an hour
    time.ringNext(ms('2026-11-21T08:10:00Z'));
    await server.periodic.settled();
    expect(broker.published.items).toHaveLength(1);
    expect(entry.next).toEqual(new Date('2026-11-21T09:15:00Z'));
    expect(lock.asked.items).toEqual([
      ['machinery_lock_pn*/5 * * * *', BigInt(ms('2026-11-21T09:15:00Z')) * 1_000_000n - 1n],
    ]);
  });

  it('are not sent again when the time was set back', async () => {
    let behindMs = 0;
    const time = test.clock;
    const clock: Clock = {
      now: () => time.now() - behindMs,
      wakeAt: (timeMs, callback) => time.wakeAt(timeMs, callback),
    };
    const [broker, backend, lock] = [new FaultyBroker({ clock }), new FaultyBackend(), new MapLock(() => clock.now())];
    await using server = new Server({ broker, backend, lock, clock, logger: new RecordingLogger() });
    const entry = server.registerPeriodicTask('*/5 * * * *', 'n', nightly);
    behindMs = 5; // an alarm that rings early, as it were
    time.ringNext(ms('2026-11-21T08:10:00Z'));
    await server.periodic.settled();
    expect(broker.published.items).toHaveLength(1);
    expect(entry.next).toEqual(new Date('2026-11-21T08:15:00Z'));
  });
});

describe('a function that makes what is sent', () => {
  it('is called at each tick, and not before', async () => {
    let day = 0;
    const make = vi.fn(() => report(`day ${++day}`));
    test.server.registerPeriodicTask(minutely, 'n', make);
    expect(make).not.toHaveBeenCalled();
    for (let i = 0; i < 3; i++) await test.tick();
    expect(make.mock.calls).toEqual([[], [], []]);
    expect(test.sent().map(({ args }) => args?.[0]?.value)).toEqual(['day 1', 'day 2', 'day 3']);
  });

  it('may be asynchronous, and make workflows', async () => {
    test.server.registerPeriodicTask(minutely, 'task', async () => nightly());
    test.server.registerPeriodicChain(minutely, 'chain', async () =>
      chain(add(1, 2), nightly().with({ ignoreResult: true })),
    );
    test.server.registerPeriodicGroup(minutely, 'group', async () => group([add(1, 2), add(3, 4)]));
    test.server.registerPeriodicChord(minutely, 'chord', () => chord([add(1, 2), add(3, 4)], add.partial()));
    for (let i = 0; i < 4; i++) await test.tick();
    expect(test.sent().map(({ name }) => name)).toEqual(['nightly', 'add', 'add', 'add', 'add', 'add']);
    expect(test.logger.texts('error')).toEqual([]);
  });

  it('may wait for an answer for ever without holding up the close for long', async () => {
    test.server.registerPeriodicTask(minutely, 'n', () => new Promise<never>(() => {}));
    test.clock.ringNext(Number.MAX_SAFE_INTEGER);
    await test.server.close();
    expect(test.logger.texts('error')).toEqual([
      `${due}The server was closed, and its lock or the function of the entry did not answer`,
    ]);
  });

  it('may be the definition of a task without arguments', async () => {
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await test.tick();
    expect(test.sent()).toMatchObject([{ name: 'nightly', args: [] }]);
  });

  const due = 'Periodic entry n, due at 2026-11-21T08:08:00.000Z, failed: ';
  const thrown = new Error('no reports today');
  const coded = (code: string): unknown => expect.objectContaining({ code });
  it.each<[string, () => unknown, string, unknown]>([
    [
      'throws',
      () => {
        throw thrown;
      },
      'no reports today',
      thrown,
    ],
    ['rejects', () => Promise.reject(thrown), 'no reports today', thrown],
    [
      'throws what may pass elsewhere',
      () => Promise.reject(Object.assign(new Error('away'), { code: 'ECONNREFUSED' })),
      'away',
      expect.objectContaining({ code: 'ECONNREFUSED' }),
    ],
    ['throws nothing', () => Promise.reject(undefined), 'undefined', undefined],
    [
      'gives nothing',
      () => undefined,
      'Expected a signature, got `undefined` (undefined)',
      coded('ERR_MACHINERY_INVALID_SIGNATURE'),
    ],
    [
      'gives a workflow',
      () => chain(nightly()),
      'Periodic entry n: expected a task, got a chain',
      coded('ERR_MACHINERY_INVALID_OPTION'),
    ],
    [
      'gives a definition',
      () => nightly,
      'Expected a signature, got `(...values) => build(values, true)` (function): call the task to get one',
      coded('ERR_MACHINERY_INVALID_SIGNATURE'),
    ],
    [
      'gives arguments that are wrong',
      () => report(5 as never),
      'Argument 1 of task report: 5 is not string',
      coded('ERR_MACHINERY_INVALID_ARGUMENT'),
    ],
  ])(
    'and %s is one error in the log, nothing is tried again, and the next tick works',
    async (_, make, text, error) => {
      const spy = vi.fn<() => unknown>(() => nightly()).mockImplementationOnce(make);
      test.server.registerPeriodicTask(minutely, 'n', spy as never);
      await test.tick();
      expect(spy).toHaveBeenCalledTimes(1);
      expect(test.sent()).toEqual([]);
      expect(test.logger.items).toEqual([
        {
          level: 'error',
          text: due + text,
          details: [error],
        },
      ]);
      await test.tick();
      expect(test.sent()).toHaveLength(1);
      expect(test.logger.texts('error')).toHaveLength(1);
    },
  );
});
