// A broker that stores a task's PENDING with its message, in one step.

import { describe, expect, it } from 'vitest';
import type { Backend } from '../../src/backend.ts';
import type { Send } from '../../src/broker.ts';
import { defineTask, failed, int64, type Outcome, rest, type ServerOptions } from '../../src/index.ts';
import { NullBackend } from '../../src/memory/index.ts';
import { FaultyBackend } from '../worker/faulty-backend.ts';
import { FaultyBroker, refusedForGood } from '../worker/faulty-broker.ts';
import { errorLike, gate, type TestServer, testServer, thrownBy } from './setup.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });

/** Sends in one step to its own queue, and to the backend's memory. */
class SendingBroker extends FaultyBroker {
  readonly asked: Backend[] = [];
  readonly sends: Send[][] = [];
  onSend: (sends: readonly Send[], next: () => Promise<Outcome[]>) => Promise<Outcome[]> = (_, next) => next();
  /** Whether it does so with the backend. */
  can = true;

  sendingWith(backend: Backend): ((sends: readonly Send[]) => Promise<Outcome[]>) | undefined {
    this.asked.push(backend);
    if (!this.can) return undefined;
    return (sends) => {
      this.sends.push([...sends]);
      return this.onSend(sends, async () => {
        await (backend as FaultyBackend).memory.write(sends.map(({ pending }) => pending));
        return this.memory.publish(sends.map(({ message }) => message));
      });
    };
  }
}

interface SendingServer extends Pick<TestServer, 'server' | 'startWorker'> {
  readonly broker: SendingBroker;
  readonly backend: FaultyBackend;
}

function sendingServer(options: Partial<ServerOptions> = {}, broker = new SendingBroker()): SendingServer {
  const backend = new FaultyBackend();
  const { server, startWorker } = testServer({ server: { broker, backend, ...options } });
  return { server, broker, backend, startWorker };
}

describe('a broker that sends with the backend', () => {
  it('gets message and PENDING together: nothing is written or published beside', async () => {
    const { server, broker, backend } = sendingServer({ resultsExpireInSeconds: 100 });
    const results = await Promise.all([1, 2].map((n) => server.send(add(n), { uuid: `task_${n}` })));
    expect(broker.asked).toEqual([backend]);
    expect(broker.sends).toHaveLength(1);
    const [sends = []] = broker.sends;
    for (const [i, { message, pending }] of sends.entries()) {
      const { createdAt } = pending.state;
      const state = { taskUuid: `task_${i + 1}`, taskName: 'add', state: 'PENDING', createdAt };
      expect(pending).toEqual({ state, expiresInSeconds: 100 });
      expect(message).toMatchObject({ routingKey: 'q', signature: { uuid: `task_${i + 1}` } });
      expect(JSON.parse(message.body).Headers).toEqual({ 'machinery-sent-at': createdAt });
      expect(createdAt).toEqual(expect.any(String));
    }
    expect(sends).toHaveLength(2);
    expect(await results[0]?.state()).toMatchObject({ state: 'PENDING' });
    expect([broker.calls.publish, backend.calls.write]).toEqual([0, 0]);
  });

  it('keeps the state of what is delayed until after it is due', async () => {
    const { server, broker } = sendingServer({ resultsExpireInSeconds: 100 });
    const dueAtMs = Date.now() + 3_600_000;
    await server.send(add(1), { eta: new Date(dueAtMs) });
    const send = broker.sends[0]?.[0] as Send;
    expect(send.message.dueAtMs).toBe(dueAtMs);
    expect(send.pending.expiresInSeconds).toBeGreaterThanOrEqual(3_690);
    expect(send.pending.expiresInSeconds).toBeLessThanOrEqual(3_700);
  });

  it('is published to by a worker, whose follow-ups have their PENDING', async () => {
    const { server, broker, backend, startWorker } = sendingServer();
    server.handle(add, (_task, ...terms) => terms.length);
    await startWorker();
    const result = await server.send(add(1, 2), { onSuccess: [add.partial().with({ uuid: 'task_next' })] });
    expect(await result.get()).toBe(2);
    expect(await backend.final('task_next')).toMatchObject({ state: 'SUCCESS' });
    expect([broker.sends.length, broker.calls.publish]).toEqual([1, 1]);
  });

  it('publishes a retry without its state, which is RETRY', async () => {
    const { server, broker, backend, startWorker } = sendingServer();
    let runs = 0;
    server.handle(add, () => {
      if (++runs === 1) throw new Error('once more');
      return runs;
    });
    await startWorker();
    const result = await server.send(add(1), { retries: 1, backoff: { delayMs: 0 } });
    expect(await result.get()).toBe(2);
    expect([broker.sends.length, broker.calls.publish]).toEqual([1, 1]);
    expect(backend.statesOf(result.uuid)).not.toContain('PENDING');
  });

  it('that answers nothing for this backend is published to in two steps, the state first', async () => {
    const broker = new SendingBroker();
    broker.can = false;
    const { server, backend } = sendingServer({}, broker);
    const steps: string[] = [];
    backend.onWrite = async (_, next) => {
      const outcomes = await next();
      steps.push('written');
      return outcomes;
    };
    broker.onPublish = (_, next) => {
      steps.push('published');
      return next();
    };
    await server.send(add(1));
    expect(steps).toEqual(['written', 'published']);
    expect(broker.asked).toEqual([backend]);
  });

  it('is not asked where no results are stored', async () => {
    const broker = new SendingBroker();
    const { server } = sendingServer({ backend: new NullBackend() }, broker);
    await server.send(add(1));
    expect(broker.asked).toEqual([]);
    expect(broker.calls.publish).toBe(1);
  });

  it('that rejects may have published: every send says so', async () => {
    const { server, broker } = sendingServer();
    const lost = new Error('connection lost');
    broker.onSend = () => Promise.reject(lost);
    const sends = await Promise.allSettled([1, 2].map((n) => server.send(add(n), { uuid: `task_${n}` })));
    expect(sends).toEqual(
      [1, 2].map((n) => {
        const text = `Task add (task_${n}) may or may not have been published: connection lost`;
        return { status: 'rejected', reason: errorLike('ERR_MACHINERY_PUBLISH_UNKNOWN', text) };
      }),
    );
    expect(broker.sends).toHaveLength(1);
  });

  it('that does not know of one of them says so for that one', async () => {
    const { server, broker } = sendingServer();
    broker.onSend = async (_, next) => [{ status: 'unknown', error: new Error('lost') }, ...(await next()).slice(1)];
    const [first, second] = await Promise.allSettled([1, 2].map((n) => server.send(add(n))));
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'ERR_MACHINERY_PUBLISH_UNKNOWN' } });
    expect(second?.status).toBe('fulfilled');
  });

  it('that refuses rejects the send with its error, and is not asked again', async () => {
    const { server, broker } = sendingServer();
    const refusal = refusedForGood();
    broker.onSend = async (sends) => sends.map(() => failed(refusal, true));
    expect(await thrownBy(() => server.send(add(1)))).toBe(refusal);
    expect([broker.sends.length, broker.calls.publish]).toEqual([1, 0]);
  });

  it('that answers the wrong number of outcomes may have published', async () => {
    const { server, broker } = sendingServer();
    broker.onSend = async () => [];
    expect(await thrownBy(() => server.send(add(1)))).toMatchObject({
      code: 'ERR_MACHINERY_PUBLISH_UNKNOWN',
      cause: errorLike('ERR_MACHINERY_BROKER_FAILED', 'The broker answered 0 results for a batch of 1'),
    });
  });

  it('sends what is added while it sends with the next call, as many as the broker publishes at once', async () => {
    const broker = new SendingBroker();
    Object.assign(broker, { capabilities: { ...broker.capabilities, maxPublishBatch: 2 } });
    const { server } = sendingServer({}, broker);
    const step = gate();
    broker.onSend = async (_, next) => {
      await step.opened;
      return next();
    };
    const sending = Promise.all([1, 2, 3, 4, 5].map((n) => server.send(add(n))));
    step.open();
    await sending;
    expect(broker.sends.map(({ length }) => length)).toEqual([2, 2, 1]);
  });

  it('is counted by telemetry when a message is stored, and only then', async () => {
    const records: unknown[][] = [];
    const { server, broker } = sendingServer({ telemetry: { record: (...record) => void records.push(record) } });
    await server.send(add(1));
    expect(records).toEqual([['task.sent', 1, { task: 'add', queue: 'q', broker: broker.name }]]);
    broker.onSend = async (sends) => sends.map(() => failed(refusedForGood(), false));
    await server.send(add(1)).catch(() => {});
    expect(records).toHaveLength(1);
  });

  it('is waited for when the server is closed', async () => {
    const { server, broker } = sendingServer();
    const [begun, step] = [gate(), gate()];
    const steps: string[] = [];
    broker.onSend = async (_, next) => {
      begun.open();
      await step.opened;
      const outcomes = await next();
      steps.push('sent');
      return outcomes;
    };
    const close = broker.close.bind(broker);
    broker.close = () => {
      steps.push('closed');
      return close();
    };
    const sending = server.send(add(1));
    await begun.opened;
    const closing = server.close();
    await new Promise((resolve) => setImmediate(resolve));
    step.open();
    await Promise.all([sending, closing]);
    expect(steps).toEqual(['sent', 'closed']);
  });

  it('a send that is aborted before reaches it not at all', async () => {
    const { server, broker } = sendingServer();
    const error = await thrownBy(() => server.send(add(1), { signal: AbortSignal.abort() }));
    expect(error).toMatchObject({ code: 'ERR_MACHINERY_ABORTED' });
    expect(broker.sends).toEqual([]);
  });
});
