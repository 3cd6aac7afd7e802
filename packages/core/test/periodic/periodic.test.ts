// What a periodic entry sends at its times, and what it asks the lock.

import { basename } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  bigInt64,
  bool,
  bytes,
  chain,
  chord,
  defineTask,
  float64,
  group,
  int64,
  json,
  type Signature,
  slice,
  string,
  uint8,
} from '../../src/index.ts';
import { gate, nextTurn } from '../server/setup.ts';
import { ms, type Scheduler, scheduler, startAt, uuidsIn } from './setup.ts';

const nightly = defineTask('nightly');
const report = defineTask('report', { args: [string] });
const add = defineTask('add', { args: [int64, int64], returns: int64 });
const double = defineTask('double', { args: [int64], returns: int64 });
const sum = defineTask('sum', { args: [int64, int64], returns: int64 });

const minutely = '* * * * *';
const names = (signatures: readonly Signature[]) => signatures.map(({ name }) => name);

describe('at each tick', () => {
  it('a task is sent as `send` sends it, and nothing before', async () => {
    const test = scheduler();
    const entry = test.server.registerPeriodicTask('*/2 * * * *', 'reports', report('weekly'));
    expect(entry.next).toEqual(new Date('2026-11-21T08:08:00Z'));
    await nextTurn();
    expect([test.sent(), test.lock.asked.items, test.clock.now()]).toEqual([[], [], ms(startAt)]);
    expect(await test.tick()).toBe('2026-11-21T08:08:00.000Z');
    expect(test.sent()).toEqual([
      expect.objectContaining({
        uuid: expect.stringMatching(/^task_[0-9a-f]{8}-/),
        name: 'report',
        routingKey: 'q',
        args: [{ type: 'string', value: 'weekly' }],
        headers: { 'machinery-sent-at': '2026-11-21T08:08:00Z' },
      }),
    ]);
    expect(test.backend.written.items).toMatchObject([{ taskName: 'report', state: 'PENDING' }]);
    expect(await test.tick()).toBe('2026-11-21T08:10:00.000Z');
    expect(await test.tick()).toBe('2026-11-21T08:12:00.000Z');
    expect(names(test.sent())).toEqual(['report', 'report']);
    expect(test.logger.items.filter(({ level }) => level !== 'debug')).toEqual([]);
    expect(test.logger.texts('debug')[0]).toBe('Periodic entry reports, due at 2026-11-21T08:08:00.000Z: sent');
  });

  it('a chain is sent', async () => {
    const test = scheduler();
    test.server.registerPeriodicChain(minutely, 'chained', chain(add(1, 2), double.partial(), double.partial()));
    for (let i = 0; i < 2; i++) {
      await test.tick();
      expect(test.sent()).toMatchObject([
        { name: 'add', onSuccess: [{ name: 'double', onSuccess: [{ name: 'double' }] }] },
      ]);
    }
  });

  it('a group is sent', async () => {
    const test = scheduler();
    test.server.registerPeriodicGroup(minutely, 'grouped', group([add(1, 2), double(3)]));
    const groups = new Set<string | undefined>();
    for (let i = 0; i < 2; i++) {
      await test.tick();
      const [first, second, ...more] = test.sent();
      expect([first?.name, second?.name, more]).toEqual(['add', 'double', []]);
      expect(first).toMatchObject({ groupTaskCount: 2, groupUuid: second?.groupUuid });
      groups.add(first?.groupUuid);
    }
    expect(groups.size).toBe(2);
  });

  it('a chord is sent', async () => {
    const test = scheduler();
    test.server.registerPeriodicChord(minutely, 'chorded', chord([add(1, 2), double(3)], sum.partial()));
    const callbacks = new Set<string | undefined>();
    for (let i = 0; i < 2; i++) {
      await test.tick();
      const sent = test.sent();
      expect(sent).toMatchObject([
        { name: 'add', chordCallback: { name: 'sum' } },
        { name: 'double', chordCallback: { name: 'sum', uuid: sent[0]?.chordCallback?.uuid } },
      ]);
      callbacks.add(sent[0]?.chordCallback?.uuid);
    }
    expect(callbacks.size).toBe(2);
  });

  it('what was sent runs, and its results are there', async () => {
    const test = scheduler();
    test.server.handle(add, (_, a, b) => a + b);
    test.server.handle(double, (_, a) => 2 * a);
    test.server.handle(sum, (_, a, b) => a + b);
    test.server.registerPeriodicChord(minutely, 'chorded', chord([add(1, 2), double(3)], sum.partial()));
    await test.startWorker();
    for (let i = 0; i < 3; i++) {
      await test.tick();
      const member = test.sent().find(({ chordCallback }) => chordCallback !== undefined);
      expect(await test.backend.final(member?.chordCallback?.uuid as string)).toMatchObject({
        state: 'SUCCESS',
        results: [{ value: 9 }],
      });
      await test.broker.idle();
    }
  });

  it('members go out as many at once as `sendConcurrency` says', async () => {
    for (const [register, kind] of [
      ['registerPeriodicGroup', 'group'],
      ['registerPeriodicChord', 'chord'],
    ] as const) {
      const test = scheduler();
      const batches: number[] = [];
      test.broker.onPublish = (messages, next) => {
        batches.push(messages.length);
        return next();
      };
      const members = group([1, 2, 3, 4, 5].map((value) => double(value)));
      const what = kind === 'group' ? members : chord(members, { name: 'end' });
      test.server[register](minutely, kind, what as never, { sendConcurrency: 1 });
      await test.tick();
      expect(batches).toEqual([1, 1, 1, 1, 1]);
    }
  });

  it('entries of one time are sent each, in the order of their registration', async () => {
    const test = scheduler();
    for (const name of ['c', 'a', 'b']) test.server.registerPeriodicTask(minutely, name, { name });
    for (let i = 0; i < 3; i++) await test.tick();
    expect(names(test.sent())).toEqual(['c', 'a', 'b']);
    expect(test.now()).toBe('2026-11-21T08:08:00.000Z');
  });

  it('a signature goes with all that it was given', async () => {
    const test = scheduler();
    const signature = report('weekly').with({
      queue: 'slow',
      priority: 9,
      retries: 3,
      backoff: { delayMs: 50 },
      timeoutMs: 1_000,
      headers: { trace: 'abc' },
      ignoreWhenTaskNotRegistered: true,
      onSuccess: [{ name: 'next', args: [{ type: 'int64', value: 7 }] }],
      onError: [{ name: 'sorry' }],
      immutable: true,
    });
    test.server.registerPeriodicTask(minutely, 'reports', signature);
    for (let i = 0; i < 2; i++) {
      await test.tick();
      expect(test.sent()).toMatchObject([
        {
          routingKey: 'slow',
          priority: 9,
          retryCount: 3,
          headers: { trace: 'abc', 'machinery-backoff': '{"delayMs":50}', 'machinery-timeout-ms': '1000' },
          ignoreWhenTaskNotRegistered: true,
          immutable: true,
          onSuccess: [{ name: 'next', args: [{ type: 'int64', value: 7 }] }],
          onError: [{ name: 'sorry' }],
        },
      ]);
    }
  });

  it('arguments of declared types go as `send` sends them', async () => {
    const test = scheduler();
    const all = defineTask('all', { args: [bytes, bigInt64, float64, json(), slice(bool), uint8, string] });
    const signature = all(new Uint8Array([0, 255, 7]), 2n ** 60n, 1, { a: [1, null] }, [true, false], 255, 'é');
    await test.server.send(signature);
    test.server.registerPeriodicTask(minutely, 'n', signature);
    test.server.registerPeriodicChain('30 8 * * *', 'chain', chain(signature));
    await test.tick();
    while (test.now() !== '2026-11-21T08:30:00.000Z') await test.tick();
    const [sent, ...ticks] = test.sent();
    expect(ticks.length).toBeGreaterThan(20);
    for (const { args } of ticks) expect(args).toEqual(sent?.args);
  });

  it('a `delayMs` counts from the tick', async () => {
    const test = scheduler();
    test.server.registerPeriodicTask('0 * * * *', 'one', nightly().with({ delayMs: 90_000 }));
    test.server.registerPeriodicChain(
      '30 * * * *',
      'two',
      chain({ ...nightly().with({ delayMs: 30_000 }) }, nightly()),
    );
    await test.tick();
    expect(test.sent()).toMatchObject([{ eta: '2026-11-21T08:30:30Z', onSuccess: [{ name: 'nightly' }] }]);
    while (test.now() !== '2026-11-21T09:00:00.000Z') await test.tick();
    expect(test.sent()).toMatchObject([{ eta: '2026-11-21T09:01:30Z' }]);
  });

  it('`ignoreResult` is kept, in callbacks, chains and chords', async () => {
    const test = scheduler();
    const alone = nightly().with({ ignoreResult: true });
    const cases: [string, (name: string) => unknown][] = [
      ['task', (name) => test.server.registerPeriodicTask(minutely, name, double(1).with({ onSuccess: [alone] }))],
      ['chain', (name) => test.server.registerPeriodicChain(minutely, name, chain(double(1), alone))],
    ];
    for (const [name, register] of cases) register(name);
    test.server.registerPeriodicChord(minutely, 'chord', chord([double(1)], alone));
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 3; j++) await test.tick();
      expect(test.sent()).toMatchObject([
        { name: 'double', immutable: true, onSuccess: [{ name: 'nightly' }] },
        { name: 'double', immutable: true, onSuccess: [{ name: 'nightly' }] },
        { name: 'double', chordCallback: { name: 'nightly', immutable: true } },
      ]);
    }
  });
});

describe('UUIDs', () => {
  /** What goes out in three ticks. */
  async function threeTicks(test: Scheduler): Promise<Signature[][]> {
    const ticks: Signature[][] = [];
    for (let i = 0; i < 3; i++) {
      await test.tick();
      ticks.push(test.sent());
    }
    return ticks;
  }

  /** No tick has a UUID of another one, or a given one, and each task has one. */
  function expectFresh(ticks: readonly Signature[][], tasks: number): void {
    const all = ticks.map((sent) => new Set(sent.flatMap(uuidsIn)));
    for (const uuids of all) {
      expect(uuids.size).toBe(tasks);
      for (const uuid of uuids) expect(uuid).toMatch(/^(task|chord)_[0-9a-f]{8}-[0-9a-f-]{27}$/);
    }
    expect(new Set(all.flatMap((uuids) => [...uuids])).size).toBe(tasks * ticks.length);
  }

  const callbacks = {
    onSuccess: [{ name: 's', uuid: 'given_s', onSuccess: [{ name: 'ss', uuid: 'given_ss' }] }],
    onError: [{ name: 'e', uuid: 'given_e', onError: [{ name: 'ee', uuid: 'given_ee' }] }],
    chordCallback: {
      name: 'c',
      uuid: 'given_c',
      onSuccess: [{ name: 'cs', uuid: 'given_cs' }],
      chordCallback: { name: 'cc', uuid: 'given_cc' },
    },
  };

  it('are fresh for a plain signature and everything nested in it, and the signature is left as it is', async () => {
    const test = scheduler();
    const signature = { name: 'n', uuid: 'given', groupUuid: 'g', groupTaskCount: 1, ...callbacks };
    const copy = structuredClone(signature);
    test.server.registerPeriodicTask(minutely, 'entry', signature);
    expectFresh(await threeTicks(test), 8);
    expect(signature).toEqual(copy);
  });

  it('are fresh for a signature of a declared task', async () => {
    const test = scheduler();
    const signature = double(1).with({ uuid: 'given', onSuccess: [double.partial().with({ uuid: 'given_s' })] });
    test.server.registerPeriodicTask(minutely, 'entry', signature);
    expectFresh(await threeTicks(test), 2);
    expect(signature.uuid).toBe('given');
  });

  it('are fresh for what a function makes, even when it makes the same each time', async () => {
    const test = scheduler();
    const signature = { name: 'n', uuid: 'given' };
    test.server.registerPeriodicTask(minutely, 'entry', () => signature);
    expectFresh(await threeTicks(test), 1);
    expect(signature).toEqual({ name: 'n', uuid: 'given' });
  });

  const { onSuccess, onError } = callbacks;
  const step = (name: string) => ({ name, uuid: `given_${name}`, onError });

  it('are fresh in a chain, with a chord in it', async () => {
    const test = scheduler();
    const inner = chord([step('m')], step('k'));
    const steps = chain({ ...step('a'), onSuccess }, inner, step('z'));
    test.server.registerPeriodicChain(minutely, 'entry', steps);
    expectFresh(await threeTicks(test), 5 + 3 * 3);
    expect(steps.steps[0]).toMatchObject({ uuid: 'given_a' });
  });

  it('are fresh in a group, with a chain in it', async () => {
    const test = scheduler();
    test.server.registerPeriodicGroup(minutely, 'entry', group([step('a'), chain(step('b'), step('c'))]));
    expectFresh(await threeTicks(test), 3 * 3);
  });

  it('are fresh in a chord, with a chain for its callback', async () => {
    const test = scheduler();
    const what = chord([step('a'), step('b')], chain(step('c'), step('d')));
    test.server.registerPeriodicChord(minutely, 'entry', what);
    const ticks = await threeTicks(test);
    expectFresh(ticks, 3 * 4);
    for (const [first, second] of ticks) expect(first?.chordCallback).toEqual(second?.chordCallback);
  });
});

describe('the lock', () => {
  it("is asked for Go's name, until one nanosecond before the next tick", async () => {
    const test = scheduler();
    test.server.registerPeriodicTask('*/5 * * * *', 'reports', nightly);
    await test.tick();
    await test.tick();
    expect(test.lock.asked.items).toEqual([
      ['machinery_lock_billingreports*/5 * * * *', BigInt(ms('2026-11-21T08:15:00Z')) * 1_000_000n - 1n],
      ['machinery_lock_billingreports*/5 * * * *', BigInt(ms('2026-11-21T08:20:00Z')) * 1_000_000n - 1n],
    ]);
    expect(test.lock.asked.items[0]?.[1]).toBe(1_795_248_899_999_999_999n);
  });

  it.each(['task', 'chain', 'group', 'chord'])('has the same name for a %s', async (kind) => {
    const test = scheduler();
    const spec = 'CRON_TZ=Europe/Berlin 0 10 * * *';
    if (kind === 'task') test.server.registerPeriodicTask(spec, 'ä b', nightly);
    if (kind === 'chain') test.server.registerPeriodicChain(spec, 'ä b', chain(nightly()));
    if (kind === 'group') test.server.registerPeriodicGroup(spec, 'ä b', group([nightly()]));
    if (kind === 'chord') test.server.registerPeriodicChord(spec, 'ä b', chord([nightly()], nightly()));
    await test.tick();
    expect(test.lock.asked.items).toEqual([
      [
        'machinery_lock_billingä bCRON_TZ=Europe/Berlin 0 10 * * *',
        BigInt(ms('2026-11-22T09:00:00Z')) * 1_000_000n - 1n,
      ],
    ]);
    expect(test.sent()).toHaveLength(1);
  });

  it("begins with the file name of the program's script when no programName is given", async () => {
    const spy = vi.spyOn(process, 'argv', 'get').mockReturnValue(['/usr/bin/node', '/srv/app/scheduler.mjs', '--now']);
    onTestFinished(() => spy.mockRestore());
    const test = scheduler({ programName: undefined as never });
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    spy.mockReturnValue(['/usr/bin/node']);
    const inTheRepl = scheduler({ programName: undefined as never });
    inTheRepl.server.registerPeriodicTask(minutely, 'n', nightly);
    await test.tick();
    await inTheRepl.tick();
    expect(test.lock.asked.items).toMatchObject([[`machinery_lock_scheduler.mjsn${minutely}`, expect.anything()]]);
    expect(inTheRepl.lock.asked.items).toMatchObject([
      [`machinery_lock_${basename(process.argv0)}n${minutely}`, expect.anything()],
    ]);
  });

  it('that another one holds keeps the tick from being sent here, and the next one is tried again', async () => {
    const test = scheduler();
    const held = [true, false, true];
    const made = vi.fn(() => nightly());
    test.lock.onAcquire = async () => !held.shift();
    test.server.registerPeriodicTask(minutely, 'reports', made);
    await test.tick();
    expect(test.sent()).toEqual([]);
    expect([made.mock.calls.length, test.backend.calls.write]).toEqual([0, 0]);
    expect(test.logger.items).toMatchObject([
      {
        level: 'debug',
        text: 'Periodic entry reports, due at 2026-11-21T08:08:00.000Z: the lock is held',
      },
    ]);
    await test.tick();
    expect(test.sent()).toHaveLength(1);
    await test.tick();
    expect(test.sent()).toEqual([]);
  });

  it('is held for a day by a tick after which none comes', async () => {
    const test = scheduler({}, '2096-02-28T12:00:00Z');
    const entry = test.server.registerPeriodicTask('0 0 29 2 *', 'leap', nightly);
    await test.tick();
    expect(test.lock.asked.items).toMatchObject([
      [expect.anything(), BigInt(ms('2096-03-01T00:00:00Z')) * 1_000_000n - 1n],
    ]);
    expect(test.sent()).toHaveLength(1);
    expect(entry.next).toBeUndefined();
    expect(test.clock.ringNext(ms('2110-01-01T00:00:00Z'))).toBe(false);
    expect(test.server.periodic.entries()).toEqual([entry]);
  });

  it('is asked once while it takes its time, and is awaited by `settled`', async () => {
    const test = scheduler();
    const { opened, open } = gate();
    test.lock.onAcquire = (next) => opened.then(next);
    test.server.registerPeriodicTask(minutely, 'reports', nightly);
    test.clock.ringNext(Number.MAX_SAFE_INTEGER);
    let isSettled = false;
    const settled = test.server.periodic.settled().then(() => {
      isSettled = true;
    });
    for (let i = 0; i < 3; i++) await nextTurn();
    expect([isSettled, test.sent(), test.lock.asked.items.length]).toEqual([false, [], 1]);
    open();
    await settled;
    expect(test.sent()).toHaveLength(1);
  });
});
