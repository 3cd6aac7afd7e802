// What a broker declares: exactly what it must, nothing that it cannot do, and what is not declared is refused by core.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type BrokerCapabilities, contractVersion, Server, silentLogger } from '@machinery/core';
import { NullBackend } from '@machinery/core/memory';
import { declaredBrokers, limitsByOption } from '../declared-brokers.ts';
import { type Scene, turn } from './scene.ts';
import type { Suite } from './suite.ts';

const limits = ['maxDelayMs', 'maxMessageBytes', 'maxPublishBatch'] as const;
const notSupported = 'ERR_MACHINERY_NOT_SUPPORTED';

export function capabilities({ it, capabilities: declared, underTest }: Suite): void {
  it('declares what it must, before and after it was used', async (scene) => {
    assert.deepEqual({ ...scene.broker.capabilities }, { ...underTest.declares });
    if (declared.eager) return;
    await scene.publish('1');
    await scene.exactly(['1']);
    assert.deepEqual({ ...scene.broker.capabilities }, { ...underTest.declares });
  });

  it('declares what the table of our own brokers says, if it is one of them', async ({ broker }) => {
    const table = declaredBrokers[broker.name];
    if (table === undefined) return;
    const expected = { ...table };
    for (const limit of limitsByOption[broker.name] ?? []) tighten(expected, broker.capabilities, limit);
    assert.deepEqual({ ...broker.capabilities }, expected);
  });

  it('declares capabilities that there are, with limits that are whole numbers', async ({ broker }) => {
    const flags = ['priority', 'deliveryCount', 'pushes', 'eager', 'listPending', 'listDelayed'];
    for (const [name, value] of Object.entries(broker.capabilities)) {
      if (flags.includes(name)) assert.equal(typeof value, 'boolean', name);
      else {
        assert.ok((limits as readonly string[]).includes(name), `${name} is no capability`);
        assert.ok(Number.isSafeInteger(value) && value >= (name === 'maxDelayMs' ? 0 : 1), `${name}: ${value}`);
      }
    }
  });

  it('says its name and the version of its contract', async ({ broker }) => {
    assert.equal(broker.contractVersion, contractVersion);
    assert.ok(typeof broker.name === 'string' && broker.name !== '');
  });

  it('has the optional members that it declares, and no others', async ({ broker }) => {
    assert.equal(typeof broker.pendingMessages, declared.listPending ? 'function' : 'undefined', 'pendingMessages');
    assert.equal(typeof broker.delayedMessages, declared.listDelayed ? 'function' : 'undefined', 'delayedMessages');
  });

  it('answers a ping where it has one, and none after it was closed', async (scene) => {
    const { broker } = scene;
    if (broker.ping === undefined) return;
    await scene.patiently('the ping to be answered', broker.ping());
    await broker.close();
    await scene.rejects(broker.ping(), 'ERR_MACHINERY_CLOSED');
  });

  it(`${declared.listPending ? 'lists' : 'refuses to list'} pending tasks through a server`, async (scene) => {
    await using server = serverOf(scene);
    const listing = server.pendingTasks(scene.queue);
    if (!declared.listPending) return scene.rejects(listing, notSupported);
    assert.deepEqual(await listing, []);
    await server.send({ name: 'pending', routingKey: scene.queue });
    assert.deepEqual(
      (await server.pendingTasks(scene.queue)).map(({ name }) => name),
      ['pending'],
    );
  });

  it(`${declared.listDelayed ? 'lists' : 'refuses to list'} delayed tasks through a server`, async (scene) => {
    await using server = serverOf(scene);
    const listing = server.delayedTasks({ limit: 1 });
    if (!declared.listDelayed) return scene.rejects(listing, notSupported);
    assert.ok((await listing).length <= 1);
  });

  const { maxDelayMs } = declared;
  if (maxDelayMs !== undefined) {
    it('has later ETAs than it can delay refused by a server', async (scene) => {
      await using server = serverOf(scene);
      const eta = new Date(Date.now() + maxDelayMs + 60_000);
      const signature = { name: 'late', routingKey: scene.queue, eta };
      await scene.rejects(server.send(underTest.adaptSignature?.(signature) ?? signature), notSupported);
    });
  }

  it('does not connect when it is attached, however often', async ({ broker }) => {
    // Only what happens because of attach is seen: the store follows its promises and timers.
    const attaching = new AsyncLocalStorage<true>();
    let sockets = 0;
    const count = () => {
      if (attaching.getStore()) sockets++;
    };
    subscribe('net.client.socket', count);
    try {
      await attaching.run(true, async () => {
        for (let times = 0; times < 2; times++)
          assert.equal(broker.attach?.({ defaultQueue: 'conformance', logger: silentLogger }), undefined);
        for (let turns = 0; turns < 5; turns++) await turn();
      });
    } finally {
      unsubscribe('net.client.socket', count);
    }
    assert.equal(sockets, 0);
  });

  if (declared.eager) return;

  it('delivers to the default queue what has the routing key that stands for it', async (scene) => {
    const { broker, queue } = scene;
    broker.attach?.({ defaultQueue: queue, logger: silentLogger });
    const key = broker.defaultRoutingKey?.(queue) ?? queue;
    assert.ok(typeof key === 'string' && key !== '');
    const hands = await scene.consume();
    const message = scene.message('to the default queue', { queue: key });
    await scene.publish(message);
    // On AMQP the key is bound to the default queues of other cases too, whose messages come here as well.
    for (let got = await hands.takeOne(); got.body !== message.body; ) {
      got = await hands.takeOne([{ kind: 'ack', delivery: got }]);
    }
  });
}

/** An option may tighten a limit, not lift it. */
function tighten(expected: Record<string, unknown>, declared: BrokerCapabilities, limit: (typeof limits)[number]) {
  const value = declared[limit];
  const most = (expected[limit] as number | undefined) ?? Number.POSITIVE_INFINITY;
  if (value !== undefined && value <= most) expected[limit] = value;
}

function serverOf({ broker, queue }: Scene): Server {
  return new Server({ broker, backend: new NullBackend(), defaultQueue: queue, logger: silentLogger });
}
