// Scripts: the server knows them by their hash, and may forget them.

import { startRedis } from '@machinery/services';
import { describe, expect, it, vi } from 'vitest';
import { redisError, runScript, script } from '../src/index.ts';
import { open, outcome, stopped, until } from './servers.ts';

const server = stopped(await startRedis());
const url = server?.url ?? 'redis://127.0.0.1';

const add = script(1, `return redis.call('INCRBY', KEYS[1], ARGV[1])`);
/** One that no server knows. */
let made = 0;
const fresh = () => script(1, `return redis.call('INCRBY', KEYS[1], ARGV[1]) -- ${made++}`);

describe.skipIf(server === undefined)('a script', { timeout: 20_000 }, () => {
  it('gets its keys and arguments, and answers', async () => {
    const { client } = open({ url });
    const echo = script(2, 'return { KEYS[1], KEYS[2], ARGV[1], ARGV[2], 5, false }');
    expect(await runScript(client, echo, 'one', 'two', 'äöü\0', 12)).toEqual(['one', 'two', 'äöü\0', '12', 5, null]);
  });

  it('sends its text once for each server', async () => {
    const { client } = open({ url });
    const sent = vi.spyOn(client, 'eval');
    const one = fresh();
    expect([await runScript(client, one, 'once', 1), await runScript(client, one, 'once', 1)]).toEqual([1, 2]);
    expect(sent).toHaveBeenCalledTimes(1);
    const another = open({ url });
    const sentByAnother = vi.spyOn(another.client, 'eval');
    expect(await runScript(another.client, one, 'once', 1)).toBe(3);
    expect(sentByAnother).not.toHaveBeenCalled();
  });

  it('runs once for each call, of many that ask at once a server that does not know it', async () => {
    const { client } = open({ url });
    const one = fresh();
    const answers = await Promise.all(Array.from({ length: 100 }, () => runScript(client, one, 'at once', 1)));
    expect(answers.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
  });

  it('runs after SCRIPT FLUSH', async () => {
    const { client } = open({ url });
    expect(await runScript(client, add, 'flushed', 2)).toBe(2);
    await client.script('FLUSH');
    expect(await runScript(client, add, 'flushed', 2)).toBe(4);
    expect(await client.script('EXISTS', add.sha)).toEqual([1]);
  });

  it('runs after a restart of the server', async () => {
    const { client } = open({ url });
    expect(await runScript(client, add, 'restarted', 3)).toBe(3);
    await server?.kill();
    expect((await outcome(runScript(client, add, 'restarted', 3))).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
    await server?.start(); // it keeps nothing
    await until(() => client.ping(), 'PONG');
    expect(await runScript(client, add, 'restarted', 3)).toBe(3);
  });

  it.each([
    ['that is no Lua', 'return return', /Error compiling script/],
    ['that calls what is wrong', `return redis.call('NONSENSE')`, /Unknown Redis command/],
    ['that throws', `error('a reason')`, /a reason/],
    ['that answers an error', `return redis.error_reply('MYERR a reason')`, /^MYERR a reason/],
    ['that has the wrong type', `redis.call('RPUSH', KEYS[1], 1) return redis.call('INCR', KEYS[1])`, /WRONGTYPE/],
  ])('%s fails for good', async (_, lua, why) => {
    const { client } = open({ url });
    const error = await runScript(client, script(1, lua), 'a wrong key', 1).catch((thrown: unknown) => thrown);
    expect((error as Error).message).toMatch(why);
    expect(redisError('backend', 'do it', error).code).toBe('ERR_MACHINERY_BACKEND_FAILED');
    expect(redisError('broker', 'do it', error).code).toBe('ERR_MACHINERY_BROKER_FAILED');
  });

  it('whose server has too little memory for now may be tried again', async () => {
    const { client } = open({ url });
    await client.config('SET', 'maxmemory', '1');
    try {
      const { code, message } = await outcome(runScript(client, add, 'no memory', 1));
      expect([code, message]).toEqual(['ERR_MACHINERY_BACKEND_UNAVAILABLE', expect.stringContaining('OOM')]);
    } finally {
      await client.config('SET', 'maxmemory', '0');
    }
    expect(await runScript(client, add, 'no memory', 1)).toBe(1);
  });

  it('that another one keeps waiting may be tried again', async () => {
    const { client } = open({ url });
    await client.config('SET', 'busy-reply-threshold', '50');
    const endless = outcome(open({ url }).client.eval('while true do end', 0));
    await until(async () => (await outcome(client.get('a key'))).message?.includes('BUSY'), true);
    expect((await outcome(runScript(client, add, 'busy', 1))).code).toBe('ERR_MACHINERY_BACKEND_UNAVAILABLE');
    await client.script('KILL');
    await endless;
    expect(await runScript(client, add, 'busy', 1)).toBe(1);
  });
});
