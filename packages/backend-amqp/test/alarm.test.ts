// A server that takes no messages, as it has too little memory: it stops reading from connections that publish.

import type { StateWrite } from '@machinery/core';
import { startRabbit } from '@machinery/services';
import { type ChannelModel, connect } from 'amqplib';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { AmqpBackend } from '../src/index.ts';

const rabbit = await startRabbit(); // of its own: the alarm would block the other tests
afterAll(() => rabbit?.stop());

const write = (taskUuid: string): StateWrite => ({
  state: { taskUuid, taskName: 'add', state: 'SUCCESS', results: [], createdAt: '2026-11-21T08:00:00Z' },
  expiresInSeconds: 3_600,
});

it.skipIf(rabbit === undefined)(
  'states are read while none can be written, and no connection is given up',
  async () => {
    const models: ChannelModel[] = [];
    let blocked = false;
    const openModel = async () => {
      const model = await connect(rabbit?.url as string);
      model.on('blocked', () => {
        blocked = true;
      });
      models.push(model);
      return model;
    };
    const backend = new AmqpBackend({ connect: openModel, commandTimeoutMs: 2_000 });
    onTestFinished(() => backend.close());
    expect(await backend.write(['before', 'later'].map(write))).toEqual(Array(2).fill({ status: 'stored' }));
    const opened = models.length;
    await rabbit?.ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
    try {
      const first = backend.write([write('first')]); // the server tells who publishes
      await expect.poll(() => blocked, { timeout: 10_000 }).toBe(true);
      expect((await backend.read(['before']))[0]?.state).toBe('SUCCESS');
      const [outcome] = await backend.write([write('blocked')]);
      expect(outcome).toMatchObject({
        status: 'failed',
        retryable: true,
        error: { message: expect.stringMatching(/takes no messages/) },
      });
      await new Promise((later) => setTimeout(later, 2_500));
      expect((await backend.read(['later']))[0]?.state).toBe('SUCCESS');
      expect(models).toHaveLength(opened);
      await rabbit?.ctl('set_vm_memory_high_watermark', '0.6');
      await first;
    } finally {
      await rabbit?.ctl('set_vm_memory_high_watermark', '0.6');
    }
    await expect.poll(async () => (await backend.write([write('after')]))[0]?.status).toBe('stored');
  },
  60_000,
);
