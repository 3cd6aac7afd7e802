// Workers that are killed when they have claimed the callback of a chord.

import { chord } from '@machinery/core';
import { type StartedRedis, startRedis } from '@machinery/services';
import { afterAll, describe, expect, it } from 'vitest';
import { hold, Scene, told, work } from './faults/setup.ts';

const redis = (await startRedis()) as StartedRedis;
afterAll(() => redis?.stop());

describe.skipIf(redis === undefined)('a claim on the callback of a chord', () => {
  // The one that ends last claims it. Those that come again end in the order in which they come.
  it.each([
    ['last', [work(1), hold(2)]],
    ['first', [hold(1), work(2)]],
  ] as const)(
    'of the %s member is taken over when all members come again',
    async (_, members) => {
      const scene = new Scene(redis.url);
      const callback = told('called back').with({ ignoreResult: true });
      const result = await scene.server.send(chord([...members], callback));
      const dying = await scene.start({ name: 'dying', diesOnClaim: true });
      await scene.reported('both members to begin', () => dying.of('begin').length === 2);
      dying.release();
      expect(await dying.program.ended).toBe('SIGKILL');
      const next = await scene.start({ name: 'next' });
      expect(await result.get({ timeoutMs: 5_000 })).toBe('called back');
      expect(next.of('begin').map(({ task }) => task)).toEqual(['told']);
    },
    30_000,
  );
});
