// `advance`: the clock goes on, and what is due on the way runs at its time.

import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { chain, chord, defineTask, group, int64, rest, string } from '../../src/index.ts';
import { type TestServer, type TestServerOptions, testServer } from '../../src/testing/index.ts';
import { errorLike, thrownBy } from '../server/setup.ts';
import { RecordingLogger } from '../worker/recording-logger.ts';

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
const work = defineTask('work', { args: [string], returns: string });
const add = defineTask('add', { args: rest(int64), returns: int64 });

let server: TestServer;
let logger: RecordingLogger;
/** What ran, in order, with the clock's time. */
let ran: string[];
beforeEach(() => make({ now: new Date('2027-01-01T00:00:00Z') }));

function make(options: TestServerOptions): void {
  logger = new RecordingLogger();
  server = testServer({ logger, ...options });
  const made = server;
  onTestFinished(() => made.close());
  ran = [];
  server.handle(work, (_task, name) => {
    ran.push(`${name} ${at()}`);
    return name;
  });
  server.handle(add, (_task, ...terms) => terms.reduce((a, b) => a + b, 0));
}
const at = () =>
  new Date(server.clock.now())
    .toISOString()
    .replace('2027-', '')
    .replace(/\.000Z$/, 'Z');

describe('the clock', () => {
  it('starts at `now`, and at the time of the system without one', () => {
    expect(server.clock.now()).toBe(Date.parse('2027-01-01T00:00:00Z'));
    const before = Date.now();
    const own = testServer();
    expect(own.clock.now()).toBeGreaterThanOrEqual(before);
    expect(own.clock.now()).toBeLessThanOrEqual(Date.now());
  });

  it('stands still', async () => {
    const now = server.clock.now();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await server.send(work('a'));
    await server.drain();
    expect(server.clock.now()).toBe(now);
  });

  it('goes on by what advance is told, also where there is nothing to do', async () => {
    await server.advance(1_500);
    await server.advance(0);
    await server.advance(500);
    expect(at()).toBe('01-01T00:00:02Z');
  });

  it('does not care about a Date that changes later', async () => {
    const now = new Date('2027-01-01T00:00:00Z');
    const own = testServer({ now });
    now.setFullYear(1970);
    expect(new Date(own.clock.now()).getUTCFullYear()).toBe(2027);
  });
});

describe('what is delayed', () => {
  it('runs when it is due, not a millisecond before', async () => {
    await server.send(work('a'), { delayMs: 1_000 });
    expect(await server.advance(999)).toBe(0);
    expect(await server.advance(1)).toBe(1);
    expect(ran).toEqual(['a 01-01T00:00:01Z']);
  });

  it('runs at its own time, wherever the clock goes to', async () => {
    await server.send(work('b'), { delayMs: 2 * hour });
    await server.send(work('a'), { delayMs: hour });
    await server.send(work('c'), { delayMs: 2 * day });
    expect(await server.advance(day)).toBe(2);
    expect(ran).toEqual(['a 01-01T01:00:00Z', 'b 01-01T02:00:00Z']);
    expect(at()).toBe('01-02T00:00:00Z');
    expect(await server.delayedTasks()).toMatchObject([{ name: 'work' }]);
  });

  it('is left for later by advance(0), which runs what is due now', async () => {
    await server.send(work('a'));
    await server.send(work('b'), { delayMs: 1 });
    expect(await server.advance(0)).toBe(1);
    expect(await server.advance(0)).toBe(0);
    expect(ran).toHaveLength(1);
  });

  it('is a retry too, when its time has come', async () => {
    const flaky = defineTask('flaky', { retries: 3, backoff: { delayMs: minute, factor: 1 } });
    server.handle(flaky, (task) => {
      ran.push(`${task.attempt} ${at()}`);
      throw new Error('no');
    });
    const result = await server.send(flaky());
    expect(await server.advance(minute - 1)).toBe(1);
    expect(await server.advance(1)).toBe(1);
    expect(await result.touch()).toEqual({ done: false });
    expect(await server.advance(10 * minute)).toBe(2);
    expect(ran.map((text) => text.slice(-9))).toEqual(['00:00:00Z', '00:01:00Z', '00:02:00Z', '00:03:00Z']);
    await expect(result.get()).rejects.toThrow('no');
  });

  it('is what tasks send on the way, when it is due by the end', async () => {
    const hourly = defineTask('hourly');
    server.handle(hourly, async () => {
      ran.push(at());
      await server.send(hourly(), { delayMs: hour });
    });
    await server.send(hourly());
    expect(await server.advance(3 * hour)).toBe(4);
    expect(ran.at(-1)).toBe('01-01T03:00:00Z');
  });
});

describe('periodic entries', () => {
  it('fire at their times and no other: a nightly job', async () => {
    const entry = server.registerPeriodicTask('CRON_TZ=UTC 0 2 * * *', 'nightly', work('nightly'));
    expect(entry.next).toEqual(new Date('2027-01-01T02:00:00Z'));
    expect(await server.advance(2 * hour - 1)).toBe(0);
    expect(await server.advance(1)).toBe(1);
    expect(await server.advance(2 * day)).toBe(2);
    expect(ran).toEqual(['nightly 01-01T02:00:00Z', 'nightly 01-02T02:00:00Z', 'nightly 01-03T02:00:00Z']);
    expect(entry.next).toEqual(new Date('2027-01-04T02:00:00Z'));
  });

  it('may be tasks, functions, chains, groups and chords', async () => {
    let made = 0;
    server.registerPeriodicTask('@hourly', 'function', async () => work(`made ${++made}`));
    server.registerPeriodicChain('@every 1h', 'chain', chain(add(1), add.partial(2)));
    server.registerPeriodicGroup('@every 1h', 'group', group([add(1, 1), add(2, 2)]));
    server.registerPeriodicChord('@every 1h', 'chord', chord([add(1), add(2)], add.partial(100)));
    expect(await server.advance(2 * hour)).toBe(2 * (1 + 2 + 2 + 3));
    expect(ran).toEqual(['made 1 01-01T01:00:00Z', 'made 2 01-01T02:00:00Z']);
    expect(server.sent(add).map(({ args }) => args)).toEqual(
      expect.arrayContaining([
        [2, 1],
        [1, 1],
        [2, 2],
        [100, 1, 2],
      ]),
    );
    expect(new Set(server.sent().map(({ uuid }) => uuid)).size).toBe(server.sent().length);
  });

  it('of several specs fire in the order of their times', async () => {
    server.registerPeriodicTask('@every 20m', 'a', work('a'));
    server.registerPeriodicTask('@every 30m', 'b', work('b'));
    await server.send(work('delayed'), { delayMs: 25 * minute });
    expect(await server.advance(hour)).toBe(6);
    expect(ran.map((text) => text.replace('01-01T', '')).slice(0, 4)).toEqual([
      'a 00:20:00Z',
      'delayed 00:25:00Z',
      'b 00:30:00Z',
      'a 00:40:00Z',
    ]);
    expect(
      ran
        .slice(4)
        .map((text) => text[0])
        .sort(),
    ).toEqual(['a', 'b']);
  });

  it('fire at 03:00 in Berlin on the days when the clocks change, too', async () => {
    make({ now: new Date('2027-03-27T00:00:00Z') });
    server.registerPeriodicTask('CRON_TZ=Europe/Berlin 0 3 * * *', 'berlin', work('x'));
    await server.advance(3 * day);
    expect(ran).toEqual(['x 03-27T02:00:00Z', 'x 03-28T01:00:00Z', 'x 03-29T01:00:00Z']);
    make({ now: new Date('2027-10-30T00:00:00Z') });
    server.registerPeriodicTask('CRON_TZ=Europe/Berlin 0 3 * * *', 'berlin', work('x'));
    await server.advance(3 * day);
    expect(ran).toEqual(['x 10-30T01:00:00Z', 'x 10-31T02:00:00Z', 'x 11-01T02:00:00Z']);
  });

  it('fire as Go does at an hour that is not there, and at one that is there twice', async () => {
    make({ now: new Date('2027-03-27T12:00:00Z') });
    server.registerPeriodicTask('CRON_TZ=Europe/Berlin 30 2 * * *', 'berlin', work('x'));
    await server.advance(2 * day);
    expect(ran).toEqual(['x 03-29T00:30:00Z']);
    make({ now: new Date('2027-10-30T12:00:00Z') });
    server.registerPeriodicTask('CRON_TZ=Europe/Berlin 30 2 * * *', 'berlin', work('x'));
    await server.advance(2 * day);
    expect(ran).toEqual(['x 10-31T00:30:00Z', 'x 10-31T01:30:00Z', 'x 11-01T01:30:00Z']);
  });

  it('are nothing to do by themselves: drain leaves them', async () => {
    server.registerPeriodicTask('@every 1m', 'a', work('a'));
    expect(await server.drain()).toBe(0);
    expect(at()).toBe('01-01T00:00:00Z');
  });

  it('do not fire while drain passes their times, and go on from then', async () => {
    const paused = server.registerPeriodicTask('@every 1m', 'paused', work('p'));
    paused.pause();
    const entry = server.registerPeriodicTask('@every 1m', 'a', work('a'));
    await server.send(work('delayed'), { delayMs: 3 * minute + 30_000 });
    expect(await server.drain()).toBe(1);
    expect(at()).toBe('01-01T00:03:30Z');
    expect(entry.next).toEqual(new Date(server.clock.now() + minute));
    expect(paused.paused).toBe(true);
    expect(await server.advance(minute)).toBe(1);
  });

  it('that are paused or removed do not fire', async () => {
    const entry = server.registerPeriodicTask('@every 1m', 'a', work('a'));
    await server.advance(minute);
    entry.pause();
    expect(await server.advance(hour)).toBe(0);
    entry.resume();
    expect(await server.advance(minute)).toBe(1);
    entry.remove();
    expect(await server.advance(hour)).toBe(0);
    expect(ran).toEqual(['a 01-01T00:01:00Z', 'a 01-01T01:02:00Z']);
  });

  it('may be registered by a task, and count from then', async () => {
    server.registerTask('register', () => void server.registerPeriodicTask('@every 1m', 'a', work('a')));
    await server.send({ name: 'register' }, { delayMs: 30_000 });
    expect(await server.advance(2 * minute)).toBe(2);
    expect(ran).toEqual(['a 01-01T00:01:30Z']);
  });

  it('go on when the function of one throws, which is logged', async () => {
    server.registerPeriodicTask('@every 1m', 'broken', () => {
      throw new Error('no');
    });
    server.registerPeriodicTask('@every 1m', 'good', work('good'));
    expect(await server.advance(3 * minute)).toBe(3);
    expect(logger.texts('error')).toHaveLength(3);
    expect(logger.texts('error')[0]).toMatch(/^Periodic entry broken, due at 2027-01-01T00:01:00.000Z/);
  });

  it('may be thousands: `maxTasks` counts from one to the next', async () => {
    server.registerPeriodicTask('* * * * *', 'a', work('a'));
    expect(await server.advance(8 * day)).toBe(8 * 24 * 60);
    expect(await server.advance(day, { maxTasks: 1 })).toBe(24 * 60);
    server.registerTask('endless', () => void server.send({ name: 'endless' }));
    server.registerPeriodicTask('@daily', 'endless', { name: 'endless' });
    expect(await thrownBy(() => server.advance(2 * day, { maxTasks: 1_000 }))).toEqual(
      errorLike('ERR_MACHINERY_NOT_DRAINED', /^10\d\d attempts ran and there is still work, of late: endless\./),
    );
  }, 20_000);

  it('of a month of hours are quick', async () => {
    server.registerPeriodicTask('@hourly', 'a', work('a'));
    const before = performance.now();
    expect(await server.advance(30 * day)).toBe(720);
    expect(performance.now() - before).toBeLessThan(5_000);
  });
});
