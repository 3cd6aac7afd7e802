// Many schedulers with the same entries and one lock: each tick is sent exactly once, by whichever comes first.

import { describe, expect, it, onTestFinished } from 'vitest';
import { contractVersion, type Lock, Server } from '../../src/index.ts';
import { TestClock } from '../../src/testing/test-clock.ts';
import { nextTurn, RecordingLogger } from '../server/setup.ts';
import { FaultyBackend } from '../worker/faulty-backend.ts';
import { FaultyBroker } from '../worker/faulty-broker.ts';
import { MapLock, ms } from './setup.ts';

const startAt = '2026-11-21T08:07:30Z';
const minuteMs = 60_000;
const count = 10;
const ticks = 100;

interface Member {
  readonly server: Server;
  readonly clock: TestClock;
  /** How far its clock is ahead. */
  readonly skewMs: number;
}

/** Servers with one broker and one register of locks. Each has its clock, and what it sends says whose it is. */
function cluster(skews: readonly number[], wrap: (lock: Lock) => Lock = (lock) => lock) {
  const broker = new FaultyBroker();
  const backend = new FaultyBackend();
  const logger = new RecordingLogger();
  const register = new Map<string, bigint>();
  const members = skews.map((skewMs, i): Member => {
    const clock = new TestClock(ms(startAt) + skewMs);
    const lock = wrap(new MapLock(() => clock.now(), register));
    const server = new Server({ broker, backend, lock, clock, logger, programName: 'p' });
    server.registerPeriodicTask('* * * * *', 'each minute', () => ({ name: 'minute', headers: { by: String(i) } }));
    server.registerPeriodicTask('*/5 * * * *', 'each five', { name: 'five' });
    return { server, clock, skewMs };
  });
  onTestFinished(async () => {
    await Promise.all(members.map(({ server }) => server.close()));
  });
  return { broker, logger, members };
}

const settled = (members: readonly Member[]) => Promise.all(members.map(({ server }) => server.periodic.settled()));
const sentAt = (broker: FaultyBroker, name: string) =>
  broker.published.items.filter((sent) => sent.name === name).map(({ headers }) => headers?.['machinery-sent-at']);
const minutesFrom = (first: string, stepMs: number, times: number) =>
  Array.from({ length: times }, (_, i) => new Date(ms(first) + i * stepMs).toISOString().replace('.000Z', 'Z'));

describe('ten schedulers', () => {
  it('of one time send each of a hundred ticks exactly once', async () => {
    const { broker, logger, members } = cluster(Array(count).fill(0));
    const lastMs = ms('2026-11-21T08:08:00Z') + (ticks - 1) * minuteMs;
    for (let time = ms('2026-11-21T08:08:00Z'); time <= lastMs; time += minuteMs) {
      // All at once: the lock is asked by each before any of them has sent.
      for (const { clock } of members) while (clock.ringNext(time));
      await settled(members);
    }
    expect(sentAt(broker, 'minute')).toEqual(minutesFrom('2026-11-21T08:08:00Z', minuteMs, ticks));
    expect(sentAt(broker, 'five')).toEqual(minutesFrom('2026-11-21T08:10:00Z', 5 * minuteMs, 20));
    expect(new Set(broker.published.items.map(({ uuid }) => uuid)).size).toBe(ticks + 20);
    expect(logger.items.filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  it('whose clocks differ by up to half a minute send each of a hundred ticks exactly once', async () => {
    const skews = [0, 1, -1, 40, -250, 999, -5_000, 12_345, -15_000, 14_999];
    // Answers come late, and in another order than the questions.
    let asked = 0;
    const { broker, logger, members } = cluster(skews, (lock) => ({
      contractVersion,
      name: 'slow',
      acquire: async (key, expiresAtNs) => {
        for (let turns = asked++ % 3; turns > 0; turns--) await nextTurn();
        return lock.acquire(key, expiresAtNs);
      },
      close: () => lock.close(),
    }));
    const start = ms(startAt);
    const firstTick = ms('2026-11-21T08:08:00Z');
    // What happens anywhere, in the order of the true time.
    const steps = Array.from({ length: ticks }, (_, i) => firstTick + i * minuteMs)
      .flatMap((tick) => members.map((member) => ({ atMs: tick - member.skewMs, member, tick })))
      .filter(({ atMs }) => atMs > start)
      .sort((a, b) => a.atMs - b.atMs);
    expect(steps).toHaveLength(count * ticks);
    for (const { member, tick } of steps) {
      while (member.clock.ringNext(tick));
      await settled(members); // or a minute would pass while a lock answers
    }
    expect(sentAt(broker, 'minute')).toEqual(minutesFrom('2026-11-21T08:08:00Z', minuteMs, ticks));
    expect(sentAt(broker, 'five')).toEqual(minutesFrom('2026-11-21T08:10:00Z', 5 * minuteMs, 20));
    expect(asked).toBe(count * (ticks + 20));
    expect(logger.items.filter(({ level }) => level !== 'debug')).toEqual([]);
  });

  it('go on when the one that has sent so far is closed', async () => {
    const { broker, members } = cluster(Array(count).fill(0));
    const first = ms('2026-11-21T08:08:00Z');
    for (const [i, { server }] of members.entries()) {
      for (const { clock } of members.slice(i)) while (clock.ringNext(first + i * minuteMs));
      await settled(members);
      await server.periodic.close();
    }
    const by = broker.published.items.filter(({ name }) => name === 'minute').map(({ headers }) => headers?.by);
    expect(by).toEqual(members.map((_, i) => String(i)));
  });
});
