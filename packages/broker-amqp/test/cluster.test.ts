// A cluster of two nodes, one of which is stopped: what is on the other one goes on, and what was on it comes back with it.

import { setTimeout as sleep } from 'node:timers/promises';
import { MachineryError } from '@machinery/core';
import { startRabbit } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { drain, message, newQueue, open, uuidOf } from './setup.ts';

const stays = await startRabbit();
const stops = stays && (await startRabbit({ cluster: stays }));
afterAll(async () => {
  await stops?.stop();
  await stays?.stop();
});

describe.skipIf(stops === undefined)('a cluster of RabbitMQ', { timeout: 120_000 }, () => {
  it('goes on with the node that is left, and with the queues of the other one when that is back', async () => {
    const [here, there] = [newQueue(), newQueue()];
    const url = [stops?.url as string, stays?.url as string];
    const options = { tag: 'worker', slots: 10, maxInHand: 20 };
    // A classic queue is where the connection is that declared it
    await open({ url: stays?.url as string }).publish([message(here, '1')]);
    const [producer, worker] = [open({ url }), open({ url })];
    await producer.publish([message(there, '1')]);
    const [ofHere, ofThere] = [
      await worker.consume({ queue: here, ...options }),
      await worker.consume({ queue: there, ...options }),
    ];
    expect((await drain(ofHere, 1)).map(uuidOf)).toEqual(['1']);
    await stops?.ctl('stop_app');

    const published = await eventually(async () => {
      const [outcome] = await producer.publish([message(here, '2')]);
      return outcome?.status === 'stored';
    });
    expect(published).toBe(true);
    expect((await eventually(() => drain(ofHere, 1))).map(uuidOf)).toEqual(['2']);
    const [outcome] = await producer.publish([message(there, '2')]);
    expect(outcome).toMatchObject({
      status: 'failed',
      retryable: true,
      error: { message: expect.stringContaining(there) },
    });

    await stops?.ctl('start_app');
    expect((await eventually(() => drain(ofThere, 1))).map(uuidOf)).toEqual(['1']);
    const stored = await eventually(
      async () => (await producer.publish([message(there, '3')]))[0]?.status === 'stored',
    );
    expect(stored).toBe(true);
  });
});

/** As core does it: again after a while, when that may help. */
async function eventually<T>(call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      const answer = await call();
      if (answer) return answer;
    } catch (error) {
      if (!MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE') || performance.now() > deadline) throw error;
    }
    if (performance.now() > deadline) throw new Error('It is never so');
    await sleep(200);
  }
}
