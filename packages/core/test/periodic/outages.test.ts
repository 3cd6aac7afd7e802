// A lock, a backend or a broker that is away at a tick: it is warned of once and tried again until the next tick is due,
// while nothing can have been published. Timers and the system's time are faked: waiting takes no time.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Message } from '../../src/broker.ts';
import { systemClock } from '../../src/clock.ts';
import { chain, chord, defineTask, failed, group, int64, type MachineryError, type Outcome } from '../../src/index.ts';
import { backendAway } from '../worker/faulty-backend.ts';
import { brokerAway, refusedForGood } from '../worker/faulty-broker.ts';
import { type TestServer, testServer } from '../worker/test-server.ts';
import { MapLock, ms } from './setup.ts';

const nightly = defineTask('nightly');
const double = defineTask('double', { args: [int64], returns: int64 });
const minutely = '* * * * *';

let test: TestServer;
let lock: MapLock;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: ms('2026-11-21T08:07:30Z') });
  lock = new MapLock(() => Date.now());
  test = testServer({ clock: systemClock, server: { lock, programName: 'p' } });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Lets time pass up to this time of the day. */
const until = (time: string) => vi.advanceTimersByTimeAsync(ms(`2026-11-21T${time}Z`) - Date.now());
const sent = () => test.broker.published.items.map(({ name }) => name);
const sentAt = () =>
  test.broker.published.items.map(({ headers }) => String(headers?.['machinery-sent-at']).slice(11, 19));
const log = () => test.logger.items.map(({ level, text }) => [level, text]);
const problems = () => log().filter(([level]) => level !== 'debug');

const due = (time: string) => `Periodic entry n, due at 2026-11-21T${time}:00.000Z`;
const isTriedAgain = (time: string, why: string) => [
  'warn',
  `${due(time)}, is tried again until its next tick: ${why}`,
];
const hasFailed = (time: string, why: string) => ['error', `${due(time)}, failed: ${why}`];

const lost: Outcome = { status: 'unknown', error: new Error('connection lost') };
const lockAway = () => new Error('The lock is away');
const allOf = (outcome: Outcome) => async (messages: readonly Message[]) => messages.map(() => outcome);

interface Away {
  readonly what: string;
  /** What the warning says. */
  readonly why: string;
  readonly isAway: (away: () => boolean) => void;
}

const aways: Away[] = [
  {
    what: 'the lock',
    why: 'The lock is away',
    isAway: (away) => {
      lock.onAcquire = async (next) => {
        if (away()) throw lockAway();
        return next();
      };
    },
  },
  {
    what: 'the lock, which throws at once',
    why: 'The lock is away',
    isAway: (away) => {
      lock.onAcquire = (next) => {
        if (away()) throw lockAway();
        return Promise.resolve(next());
      };
    },
  },
  {
    what: 'the backend, which rejects',
    why: 'The backend is away',
    isAway: (away) => {
      test.backend.onWrite = async (_, next) => {
        if (away()) throw backendAway();
        return next();
      };
    },
  },
  {
    what: 'the backend, which answers failed',
    why: 'The backend is away',
    isAway: (away) => {
      test.backend.onWrite = async (writes, next) => (away() ? writes.map(() => failed(backendAway(), true)) : next());
    },
  },
  {
    what: 'the broker',
    why: 'The broker is away',
    isAway: (away) => {
      test.broker.onPublish = async (messages, next) =>
        away() ? messages.map(() => failed(brokerAway(), true)) : next();
    },
  },
];

describe.each(aways)('$what', ({ why, isAway }) => {
  it.each([1, 5])('away for %s tries: one warning, and the tick is sent when it is back', async (times) => {
    let left = times;
    isAway(() => left-- > 0);
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:30');
    expect(sent()).toEqual(['nightly']);
    expect(log()).toEqual([isTriedAgain('08:08', why), ['debug', `${due('08:08')}: sent`]]);
    await until('08:09:30');
    expect(sent()).toEqual(['nightly', 'nightly']);
    expect(sentAt()[1]).toBe('08:09:00');
    expect(problems()).toHaveLength(1);
  });

  it('away for a whole tick: one warning and one error, and the next tick is sent', async () => {
    isAway(() => Date.now() < ms('2026-11-21T08:09:00Z'));
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:10:30');
    expect(sentAt()).toEqual(['08:09:00', '08:10:00']);
    expect(problems()).toEqual([isTriedAgain('08:08', why), hasFailed('08:08', why)]);
  });

  it('away for ever: one warning and one error a tick', async () => {
    isAway(() => true);
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:10:30');
    expect(sent()).toEqual([]);
    const expected = ['08:08', '08:09'].flatMap((time) => [isTriedAgain(time, why), hasFailed(time, why)]);
    expect(problems()).toHaveLength(5);
    expect(problems()).toEqual(expect.arrayContaining([...expected, isTriedAgain('08:10', why)]));
  });

  it('away until just before the next tick: the tick is sent before that', async () => {
    isAway(() => Date.now() < ms('2026-11-21T08:08:50Z'));
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:59');
    expect(sent()).toEqual(['nightly']);
    expect(problems()).toEqual([isTriedAgain('08:08', why)]);
  });

  it('away when the next tick is only a moment away: an error at once', async () => {
    let left = 1;
    isAway(() => left-- > 0);
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:07:59.999');
    vi.setSystemTime(ms('2026-11-21T09:08:59.989Z')); // the process was stopped for an hour
    await vi.advanceTimersByTimeAsync(1);
    expect(problems()).toEqual([hasFailed('08:08', why)]);
    await until('09:09:30');
    expect(sentAt()).toEqual(['09:09:00']);
    expect(problems()).toHaveLength(1);
  });

  it('away at the close of the server: it is not tried any more', async () => {
    isAway(() => true);
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:02');
    expect(problems()).toEqual([isTriedAgain('08:08', why)]);
    await test.server.close();
    expect(problems()).toEqual([isTriedAgain('08:08', why), hasFailed('08:08', why)]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('away when its entry is removed: it is not tried any more', async () => {
    isAway(() => Date.now() < ms('2026-11-21T08:08:10Z'));
    const entry = test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:02');
    entry.remove();
    await until('08:09:30');
    expect(sent()).toEqual([]);
    expect(problems()).toEqual([isTriedAgain('08:08', why), hasFailed('08:08', why)]);
  });
});

describe('a lock', () => {
  it('that was had is not asked for again while sending is tried', async () => {
    test.broker.failPublishes(3);
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:30');
    expect(lock.asked.items).toHaveLength(1);
    expect(sent()).toEqual(['nightly']);
  });

  it('is asked for the same time at each try', async () => {
    let left = 4;
    lock.onAcquire = async (next) => {
      if (left-- > 0) throw lockAway();
      return next();
    };
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:30');
    expect(lock.asked.items).toHaveLength(5);
    expect(new Set(lock.asked.items.map(String)).size).toBe(1);
  });

  it('that is held when it is back: a warning says that its answer may have been lost', async () => {
    let left = 1;
    lock.onAcquire = async (next) => {
      const isOurs = next();
      if (left-- > 0) throw lockAway();
      return isOurs;
    };
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:30');
    expect(sent()).toEqual([]);
    expect(problems()).toEqual([
      isTriedAgain('08:08', 'The lock is away'),
      ['warn', `${due('08:08')}, is not sent here: the lock is held, or an answer of it was lost`],
    ]);
  });
});

describe('a function that makes what is sent', () => {
  it('is called once for a tick, however often that is tried', async () => {
    const make = vi.fn(() => ({ name: 'made' }));
    test.broker.failPublishes(3);
    test.server.registerPeriodicTask(minutely, 'n', make);
    await until('08:08:30');
    expect(sent()).toEqual(['made']);
    expect(make).toHaveBeenCalledTimes(1);
  });
});

describe('what may have been published is not sent again', () => {
  const cases: [string, () => unknown, string][] = [
    [
      'a task',
      () => test.server.registerPeriodicTask(minutely, 'n', { name: 'a' }),
      'Task a (*) may or may not have been published: connection lost',
    ],
    [
      'a chain',
      () => test.server.registerPeriodicChain(minutely, 'n', chain({ name: 'a' }, { name: 'b' })),
      'Task a (*) may or may not have been published: connection lost',
    ],
    [
      'a group',
      () => test.server.registerPeriodicGroup(minutely, 'n', group([{ name: 'a' }, { name: 'b' }])),
      '2 of 2 tasks were not published: Task a (*) may or may not have been published: connection lost',
    ],
    [
      'a chord',
      () => test.server.registerPeriodicChord(minutely, 'n', chord([{ name: 'a' }], { name: 'b' })),
      '1 of 1 tasks were not published: Task a (*) may or may not have been published: connection lost',
    ],
  ];
  it.each(cases)('%s whose outcome is unknown', async (_, register, why) => {
    test.broker.onPublish = allOf(lost);
    register();
    await until('08:08:30');
    test.broker.onPublish = (_messages, next) => next();
    await until('08:08:59');
    expect(test.broker.calls.publish).toBe(1);
    expect(problems().map(([level, text]) => [level, text?.replace(/\(task_.*?\)/, '(*)')])).toEqual([
      hasFailed('08:08', why),
    ]);
    await until('08:09:30');
    expect(sent()[0]).toBe('a');
  });

  it('a task whose publish rejects, which says nothing of it', async () => {
    test.broker.onPublish = () => Promise.reject(brokerAway());
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:08:30');
    expect(test.broker.calls.publish).toBe(1);
    expect(problems()).toMatchObject([['error', expect.stringContaining('may or may not have been published')]]);
  });

  it.each<[string, Outcome, Outcome | undefined]>([
    ['a group of which one member was published', failed(brokerAway(), true), undefined],
    ['a group of which one member may have been published', failed(brokerAway(), true), lost],
  ])('%s', async (_, firstOutcome, secondOutcome) => {
    let calls = 0;
    test.broker.onPublish = async (messages, next) => {
      if (calls++ > 0) return next();
      if (secondOutcome !== undefined) return [firstOutcome, secondOutcome];
      await test.broker.memory.publish(messages.slice(1));
      return [firstOutcome, { status: 'stored' }];
    };
    test.server.registerPeriodicGroup(minutely, 'n', group([double(1), double(2)]));
    await until('08:08:59');
    expect(calls).toBe(1);
    expect(problems()).toHaveLength(1);
    expect(problems()[0]).toMatchObject(['error', expect.stringContaining(`${due('08:08')}, failed: `)]);
    const error = test.logger.items.find(({ level }) => level === 'error')?.details[0] as MachineryError;
    expect(error.code).toBe('ERR_MACHINERY_GROUP_NOT_SENT');
    await until('08:09:30');
    expect(sent()).toEqual(['double', 'double']);
  });
});

describe('what was refused for good is not sent again', () => {
  it('a task that the broker refuses: one error, and the next tick is tried', async () => {
    test.broker.failPublishes(1, failed(refusedForGood(), false));
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:09:30');
    expect(problems()).toEqual([hasFailed('08:08', 'Refused for good')]);
    expect(sentAt()).toEqual(['08:09:00']);
  });

  it('a group of which one member was refused', async () => {
    let calls = 0;
    test.broker.onPublish = async (_, next) =>
      calls++ > 0 ? next() : [failed(brokerAway(), true), failed(refusedForGood(), false)];
    test.server.registerPeriodicGroup(minutely, 'n', group([double(1), double(2)]));
    await until('08:08:59');
    expect([calls, problems().length]).toEqual([1, 1]);
  });
});

describe('a workflow of which nothing was published is sent again', () => {
  it.each<[string, () => unknown, string[]]>([
    ['a chain', () => test.server.registerPeriodicChain(minutely, 'n', chain({ name: 'a' }, { name: 'b' })), ['a']],
    [
      'a group',
      () => test.server.registerPeriodicGroup(minutely, 'n', group([{ name: 'a' }, { name: 'b' }])),
      ['a', 'b'],
    ],
    [
      'a chord',
      () => test.server.registerPeriodicChord(minutely, 'n', chord([{ name: 'a' }, { name: 'b' }], { name: 'c' })),
      ['a', 'b'],
    ],
  ])('%s, once the broker is back', async (_, register, names) => {
    test.broker.failPublishes(3);
    register();
    await until('08:08:30');
    expect(sent()).toEqual(names);
    expect(problems()).toHaveLength(1);
    expect(problems()[0]?.[0]).toBe('warn');
    const known = await Promise.all(test.broker.published.items.map(({ uuid }) => test.backend.state(uuid as string)));
    expect(known.map((state) => state?.state)).toEqual(names.map(() => 'PENDING'));
  });

  it('a group whose meta cannot be stored', async () => {
    const { initGroup } = test.backend;
    let left = 2;
    test.backend.initGroup = async (...args) => {
      if (left-- > 0) throw backendAway();
      return initGroup(...args);
    };
    test.server.registerPeriodicGroup(minutely, 'n', group([{ name: 'a' }, { name: 'b' }]));
    await until('08:08:30');
    expect(sent()).toEqual(['a', 'b']);
    expect(problems()).toEqual([isTriedAgain('08:08', 'The backend is away')]);
  });
});

describe('a tick after which none comes', () => {
  it('is tried until it is sent, or its entry is removed', async () => {
    vi.setSystemTime(ms('2096-02-28T23:59:30Z'));
    let left = 30;
    test.broker.onPublish = async (messages, next) =>
      left-- > 0 ? messages.map(() => failed(brokerAway(), true)) : next();
    test.server.registerPeriodicTask('0 0 29 2 *', 'n', nightly);
    await vi.advanceTimersByTimeAsync(600_000);
    expect(sent()).toEqual(['nightly']);
    expect(problems()).toHaveLength(1);
  });
});

describe('an entry that is away', () => {
  it('does not keep another one from being sent', async () => {
    test.broker.onPublish = async (messages, next) =>
      messages[0]?.signature.name === 'a' ? messages.map(() => failed(brokerAway(), true)) : next();
    test.server.registerPeriodicTask(minutely, 'n', { name: 'a' });
    test.server.registerPeriodicTask('*/2 * * * *', 'other', () => ({ name: 'b' }));
    await until('08:10:30');
    expect(sentAt()).toEqual(['08:08:00', '08:10:00']);
  });
});

describe('a lock of another clock', () => {
  it('that is a little behind is asked again by whoever has had it until now', async () => {
    lock = new MapLock(() => Date.now() - 200);
    test = testServer({ clock: systemClock, server: { lock, programName: 'p' } });
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:12:30');
    expect(sent()).toHaveLength(5);
    expect(problems()).toEqual([]);
  });

  it('that is further behind keeps a lone scheduler from every second tick', async () => {
    lock = new MapLock(() => Date.now() - 2_000);
    test = testServer({ clock: systemClock, server: { lock, programName: 'p' } });
    test.server.registerPeriodicTask(minutely, 'n', nightly);
    await until('08:12:30');
    expect(sentAt()).toEqual(['08:08:00', '08:10:00', '08:12:00']);
    expect(lock.asked.items).toHaveLength(3 + 2 * 3);
  });
});

it('a lock that answers when the next tick is due does not let a tick be sent twice', async () => {
  lock.onAcquire = async (next) => {
    if (lock.asked.items.length > 1) return next();
    await new Promise((resolve) => setTimeout(resolve, 61_000));
    return true; // as a lock may that has expired meanwhile
  };
  test.server.registerPeriodicTask(minutely, 'n', nightly);
  await until('08:10:30');
  expect(sentAt()).toEqual(['08:09:00', '08:10:00']);
  expect(problems()).toEqual([
    ['warn', `${due('08:08')}, is not sent: the lock has answered only when the next tick was due`],
  ]);
});

it('a tick that is tried again is the same sending: it leaves no other states behind', async () => {
  let away = 3;
  test.broker.onPublish = async (messages, next) =>
    away-- > 0 ? messages.map(() => failed(brokerAway(), true)) : next();
  test.server.registerPeriodicGroup(minutely, 'n', group([double(1), double(2)]));
  await until('08:08:30');
  expect(sent()).toHaveLength(2);
  const written = new Set(test.backend.written.items.map(({ taskUuid }) => taskUuid));
  expect(written).toEqual(new Set(test.broker.published.items.map(({ uuid }) => uuid)));
});
