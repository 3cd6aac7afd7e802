// What workflows cost, in calls: the reads of a large chord's workers, and those of a thousand who wait.

import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import type { Broker, Message } from '@machinery/core';
import { FaultyBackend, withoutPush } from '../faults/index.ts';
import { shuffled } from './orders.ts';
import type { Scene } from './scene.ts';
import { chordOf, groupOf, task } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const members = 500;
const workers = 4;
const mostStatesRead = 4 * members + 100;
/** Claims, and reads of the group's meta: a few for each worker, and not one for each member. */
const mostCalls = 25 * workers;

type Order = <T>(items: readonly T[]) => readonly T[];
const orders: Readonly<Record<string, Order>> = {
  "in the group's order": (items) => items,
  'in reverse order': (items) => items.toReversed(),
  'in a random order': (items) => shuffled(items, 11),
};

const waiters = 1_000;
const secondsWaited = 2;
const mostCallsPerSecond = 50;

/** What the workers of one chord have asked for in all. */
interface Cost {
  readonly statesRead: number;
  readonly claims: number;
  readonly groupsRead: number;
}

export function testCounting(suite: WorkflowSuite): void {
  suite.describe(`a chord of ${members} members on ${workers} workers`, () => {
    for (const concurrency of [1, 10]) {
      for (const [name, order] of Object.entries(orders)) {
        const title = `costs at most ${mostStatesRead} reads at concurrency ${concurrency}, finished ${name}`;
        const run = async (scene: Scene) => {
          const { statesRead, claims, groupsRead } = await costOf(scene, concurrency, order);
          const got = `${statesRead} states and ${groupsRead} metas were read, and there were ${claims} claims`;
          assert.ok(statesRead <= mostStatesRead, `Expected at most ${mostStatesRead} states to be read: ${got}`);
          assert.ok(claims <= mostCalls, `Expected at most ${mostCalls} claims: ${got}`);
          assert.ok(groupsRead <= mostCalls, `Expected at most ${mostCalls} metas to be read: ${got}`);
        };
        suite.it(title, run, 5_000 + 8 * suite.patienceMs);
      }
    }
  });

  suite.describe(`${waiters} who wait for results`, () => {
    suite.it(`make at most ${mostCallsPerSecond} calls a second, whether results are pushed or not`, async (scene) => {
      await Promise.all([callsOfWaiters(scene, false), callsOfWaiters(scene, true)]);
    });
  });
}

async function costOf(scene: Scene, concurrency: number, order: Order): Promise<Cost> {
  const backends: FaultyBackend[] = [];
  const backend = (inner: ConstructorParameters<typeof FaultyBackend>[0]) => {
    const counting = new FaultyBackend(inner);
    backends.push(counting);
    return counting;
  };
  const sender = await scene.server({ broker: (inner) => publishingIn(order, inner) });
  const labels = Array.from({ length: members }, (_, i) => `m${i}`);
  const result = await scene.send(
    sender,
    chordOf(
      labels.map((label) => task(label)),
      task('z'),
    ),
  );
  await Promise.all(Array.from({ length: workers }, () => scene.worker({ backend }, { concurrency })));
  const value = await scene.within('the chord', result.get(), 4 * scene.patienceMs);
  assert.equal(value, `z(${labels.map((label) => `${label}()`).join(',')})`);
  await scene.quiet();
  assert.equal(scene.log.times('z'), 1);
  assert.equal(scene.log.entries.length, members + 1);
  const sum = (count: (backend: FaultyBackend) => number) => backends.reduce((all, one) => all + count(one), 0);
  return {
    statesRead: sum((one) => one.statesRead),
    claims: sum((one) => one.calls.claimChord),
    groupsRead: sum((one) => one.calls.readGroup),
  };
}

/** The broker, with the messages of each batch in another order: so their tasks run, and finish. */
function publishingIn(order: Order, inner: Broker): Broker {
  return new Proxy(inner, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key, target);
      if (key !== 'publish') return typeof member === 'function' ? member.bind(target) : member;
      return async (messages: readonly Message[]) => {
        const places = order(messages.map((_, i) => i));
        const outcomes = await target.publish(places.map((place) => messages[place] as Message));
        return messages.map((_, i) => outcomes[places.indexOf(i)]);
      };
    },
  });
}

async function callsOfWaiters(scene: Scene, polling: boolean): Promise<void> {
  let backend: FaultyBackend | undefined;
  const server = await scene.server({
    backend: (inner) => (backend = new FaultyBackend(polling ? withoutPush(inner) : inner)),
  });
  const labels = Array.from({ length: waiters }, (_, i) => `w${i}`);
  const result = await scene.send(server, groupOf(...labels.map((label) => task(label))));
  const before = backend?.faults.total ?? 0;
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const waiting = result.tasks.map((one) => one.get({ signal: stop.signal }).catch(() => {}));
  await new Promise((resolve) => setTimeout(resolve, secondsWaited * 1_000)); // this is what is measured
  const calls = (backend?.faults.total ?? 0) - before;
  stop.abort();
  await Promise.all(waiting);
  const most = secondsWaited * mostCallsPerSecond;
  assert.ok(calls <= most, `Expected at most ${most} calls in ${secondsWaited} s, got ${calls}`);
  assert.ok(calls > 0, 'Expected the results to be looked for');
}
