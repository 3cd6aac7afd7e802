// The memory backend: states, expiry, watching and limits.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MemoryBackend } from '../../src/memory/memory-backend.ts';
import type { TaskState } from '../../src/task-state.ts';
import { summary } from './messages.ts';

let backend: MemoryBackend;
beforeEach(() => {
  backend = new MemoryBackend();
});
afterEach(async () => {
  await backend.close();
  vi.useRealTimers();
});

const sent = '2026-01-02T03:04:05.678Z';
const state = (name: TaskState['state'], extra: Partial<TaskState> = {}): TaskState => ({
  taskUuid: 't1',
  taskName: 'add',
  state: name,
  createdAt: sent,
  ...extra,
});
const write = async (...states: TaskState[]) =>
  (await backend.write(states.map((it) => ({ state: it, expiresInSeconds: 60 })))).map(summary);
const read = async (uuid = 't1') => (await backend.read([uuid]))[0];

describe('options', () => {
  it('are checked', () => {
    expect(() => new MemoryBackend({ maxStateBytes: 0 })).toThrowError(/MemoryBackend.*`maxStateBytes`/);
    expect(() => new MemoryBackend({ maxBytes: 5 } as never)).toThrowError(/unknown option `maxBytes`/);
  });

  it('show in the capabilities', () => {
    expect(backend.capabilities).toEqual({ storesResults: true, push: true });
    expect(new MemoryBackend({ maxStateBytes: 500 }).capabilities.maxStateBytes).toBe(500);
  });
});

describe('write and read', () => {
  it('answer in the order of what was asked', async () => {
    expect(await write(state('PENDING'), state('SUCCESS', { taskUuid: 't2' }))).toEqual(['stored', 'stored']);
    const states = await backend.read(['t2', 'none', 't1', 't2']);
    expect(states.map((it) => it?.state)).toEqual(['SUCCESS', undefined, 'PENDING', 'SUCCESS']);
  });

  it('answer nothing for nothing', async () => {
    expect(await backend.write([])).toEqual([]);
    expect(await backend.read([])).toEqual([]);
  });

  it('keep the last of several states of a task in one batch', async () => {
    await write(state('PENDING'), state('RECEIVED'), state('STARTED'), state('SUCCESS'));
    expect((await read())?.state).toBe('SUCCESS');
  });

  it('let no late RECEIVED, STARTED or RETRY replace a final state of the same send', async () => {
    await write(state('SUCCESS', { results: [{ type: 'int64', value: 7 }] }));
    for (const late of ['RECEIVED', 'STARTED', 'RETRY'] as const) {
      expect(await write(state(late, { createdAt: '2026-01-02T03:04:05.678000000Z' }))).toEqual(['stored']);
    }
    expect(await read()).toMatchObject({ state: 'SUCCESS', results: [{ type: 'int64', value: 7 }] });
  });

  it('start over with PENDING, and with any state of another send', async () => {
    await write(state('SUCCESS'), state('PENDING'));
    expect((await read())?.state).toBe('PENDING');
    await write(state('FAILURE'), state('STARTED', { createdAt: '2026-01-02T03:04:06Z' }));
    expect(await read()).toMatchObject({ state: 'STARTED', createdAt: '2026-01-02T03:04:06Z' });
  });

  it('keep the name and the time of sending that a state lacks', async () => {
    await write(state('PENDING'), { taskUuid: 't1', taskName: '', state: 'STARTED' });
    expect(await read()).toEqual({ taskUuid: 't1', taskName: 'add', state: 'STARTED', createdAt: sent });
  });

  it('are not changed by whoever wrote or read a slice', async () => {
    const value = [1, 2, 3];
    await write(state('SUCCESS', { results: [{ type: '[]int64', value }] }));
    value.push(4);
    for (let round = 0; round < 2; round++) {
      const got = (await read())?.results?.[0]?.value as number[];
      expect(got).toEqual([1, 2, 3]);
      got.reverse();
    }
  });
});

describe('maxStateBytes', () => {
  it('refuses a larger state for good, keeps what was there, and stores the others', async () => {
    backend = new MemoryBackend({ maxStateBytes: 400 });
    await write(state('STARTED'));
    const large = state('SUCCESS', { results: [{ type: 'string', value: 'é'.repeat(200) }] });
    expect(await write(large, state('SUCCESS', { taskUuid: 't2' }))).toEqual([
      'ERR_MACHINERY_STATE_TOO_LARGE',
      'stored',
    ]);
    expect((await read())?.state).toBe('STARTED');
    expect((await read('t2'))?.state).toBe('SUCCESS');
  });

  it('fails a state that cannot be encoded, alone', async () => {
    backend = new MemoryBackend({ maxStateBytes: 400 });
    const broken = state('SUCCESS', { createdAt: 'yesterday' });
    expect(await write(broken, state('SUCCESS', { taskUuid: 't2' }))).toEqual([
      'ERR_MACHINERY_BACKEND_FAILED',
      'stored',
    ]);
  });
});

describe('expiry', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  });

  it('is checked on read, to the millisecond', async () => {
    await write(state('SUCCESS'));
    vi.setSystemTime(Date.now() + 59_999);
    expect((await read())?.state).toBe('SUCCESS');
    vi.setSystemTime(Date.now() + 1);
    expect(await read()).toBeUndefined();
  });

  it('counts from the last write', async () => {
    await write(state('STARTED'));
    vi.setSystemTime(Date.now() + 50_000);
    await write(state('SUCCESS'));
    vi.setSystemTime(Date.now() + 50_000);
    expect((await read())?.state).toBe('SUCCESS');
  });

  it('counts from the last write of the same object too', async () => {
    const success = state('SUCCESS');
    await write(success);
    vi.setSystemTime(Date.now() + 50_000);
    await write(success);
    vi.setSystemTime(Date.now() + 50_000);
    expect((await read())?.state).toBe('SUCCESS');
  });

  it('is not prolonged by a late state that is not stored', async () => {
    await write(state('SUCCESS'));
    vi.setSystemTime(Date.now() + 50_000);
    await write(state('STARTED'));
    vi.setSystemTime(Date.now() + 10_000);
    expect(await read()).toBeUndefined();
  });

  it('makes a state forgotten for merging too', async () => {
    await write(state('SUCCESS'));
    vi.setSystemTime(Date.now() + 60_000);
    await write(state('STARTED'));
    expect((await read())?.state).toBe('STARTED');
  });

  it('frees what nobody reads, states and groups, and then stops its timers', async () => {
    for (let i = 0; i < 5_000; i++) await write(state('SUCCESS', { taskUuid: `t${i}` }));
    await backend.initGroup({ groupUuid: 'g', taskUuids: ['t1'], chordTriggered: false, lock: false }, 30);
    expect(vi.getTimerCount()).toBe(2);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(vi.getTimerCount()).toBe(0);
    await write(state('SUCCESS'));
    expect(vi.getTimerCount()).toBe(1);
  });

  it('sweeps past what is not expired', async () => {
    await backend.write([{ state: state('SUCCESS', { taskUuid: 'long' }), expiresInSeconds: 3_600 }]);
    await write(state('SUCCESS'));
    await vi.advanceTimersByTimeAsync(120_000);
    expect((await read('long'))?.state).toBe('SUCCESS');
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('needs no timer once everything is purged or closed', async () => {
    await write(state('SUCCESS'));
    await backend.purge({ tasks: ['t1'] });
    expect(vi.getTimerCount()).toBe(0);
    await write(state('SUCCESS'));
    await backend.close();
    expect(vi.getTimerCount()).toBe(0);
  });
});

it('does not keep the process alive', async () => {
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  await write(state('SUCCESS'));
  expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).toHaveLength(before);
});

describe('watch', () => {
  it('calls once, with the final state, after it is stored', async () => {
    const calls: TaskState[] = [];
    backend.watch('t1', (it) => calls.push(it));
    await write(state('PENDING'), state('STARTED'), state('RETRY', { error: 'again' }));
    expect(calls).toEqual([]);
    await write(state('SUCCESS'), state('SUCCESS'));
    await write(state('FAILURE'));
    expect(calls.map((it) => it.state)).toEqual(['SUCCESS']);
  });

  it('calls each watcher of its own task', async () => {
    const calls: string[] = [];
    const listener = (it: TaskState) => calls.push(it.taskUuid);
    backend.watch('t1', listener);
    const stop = backend.watch('t1', listener);
    backend.watch('t1', listener);
    backend.watch('t2', listener);
    stop();
    stop();
    await write(state('FAILURE'));
    expect(calls).toEqual(['t1', 't1']);
  });

  it('calls nobody who has stopped, nor for a state from before', async () => {
    await write(state('SUCCESS'));
    const listener = vi.fn();
    backend.watch('t1', listener)();
    await write(state('SUCCESS'));
    backend.watch('t1', listener);
    await write(state('STARTED'));
    expect(listener).not.toHaveBeenCalled();
  });

  it('survives a watcher that throws, and logs it', async () => {
    const error = vi.fn();
    backend.attach({ logger: { debug() {}, info() {}, warn() {}, error } });
    const listener = vi.fn();
    backend.watch('t1', () => {
      throw new Error('watcher broke');
    });
    backend.watch('t1', listener);
    expect(await write(state('SUCCESS'))).toEqual(['stored']);
    expect(listener).toHaveBeenCalledOnce();
    expect(error).toHaveBeenCalledWith(
      expect.stringMatching(/watcher of task t1 threw: watcher broke/),
      expect.anything(),
    );
  });
});

describe('purge and close', () => {
  it('purge removes states and groups, and what is not there is no error', async () => {
    await write(state('SUCCESS'), state('SUCCESS', { taskUuid: 't2' }));
    await backend.initGroup({ groupUuid: 'g', taskUuids: ['t1'], chordTriggered: false, lock: false }, 60);
    await backend.purge({ tasks: ['t1', 'none'], groups: ['g', 'none'] });
    await backend.purge({});
    expect((await backend.read(['t1', 't2'])).map((it) => it?.state)).toEqual([undefined, 'SUCCESS']);
    expect(await backend.readGroup('g')).toBeUndefined();
  });

  it('close may be repeated, and every call after it fails with ERR_MACHINERY_CLOSED', async () => {
    await backend.close();
    await backend.close();
    const closed = { code: 'ERR_MACHINERY_CLOSED' };
    expect(await write(state('SUCCESS'))).toEqual(['ERR_MACHINERY_CLOSED']);
    await expect(backend.read(['t1'])).rejects.toMatchObject(closed);
    await expect(backend.readGroup('g')).rejects.toMatchObject(closed);
    await expect(backend.claimChord('g', 't1')).rejects.toMatchObject(closed);
    await expect(backend.purge({})).rejects.toMatchObject(closed);
  });
});
