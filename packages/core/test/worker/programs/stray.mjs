// A worker in a process in which something goes wrong. `node stray.mjs <case>`
import { Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const say = (text) => process.stdout.write(`${text}\n`);
const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
const fails = () => Promise.reject(new Error('of a handler'));
const options = {
  'errorHandler rejects': { errorHandler: fails },
  'preTaskHandler rejects': { preTaskHandler: fails },
  'postTaskHandler rejects': { postTaskHandler: fails },
  'preConsumeHandler rejects': { preConsumeHandler: () => (said++ === 0 ? fails() : true) },
}[process.argv[2]];
let said = 0;

/** Ends the process well, long after anything that would have ended it badly. */
const survive = async () => {
  const worker = server.newWorker('worker', options);
  await worker.start();
  server.registerTask('fails', (how) => {
    if (how === 'timer')
      setTimeout(() => {
        throw new Error('from a timer');
      });
    if (how === 'late')
      setTimeout(() => {
        throw new Error('from a timer');
      }, 20);
    if (how === 'promise') void Promise.reject(new Error('left'));
    if (how === 'undefined') void Promise.reject(undefined);
    throw new Error('thrown');
  });
  for (const value of ['timer', 'late', 'promise', 'undefined', ''])
    await (await server.send({ name: 'fails', args: [{ type: 'string', value }] })).get().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  await worker.quit();
  say('survived');
};

const die = async (how) => {
  await server.newWorker('worker').start();
  how();
  await new Promise((resolve) => setTimeout(resolve, 300));
  say('survived');
  process.exit(0);
};

switch (process.argv[2]) {
  case 'uncaught':
    await die(() =>
      setTimeout(() => {
        throw new Error('not of a task');
      }),
    );
    break;
  case 'rejected':
    await die(() => void Promise.reject(new Error('not of a task')));
    break;
  case 'uncaught after a worker that could not start': {
    const broken = new Server({
      broker: Object.assign(new MemoryBroker(), { consume: () => Promise.reject(new Error('no rights')) }),
      backend: new MemoryBackend(),
      logger: silentLogger,
    });
    const worker = broken.newWorker('broken');
    await worker.start().catch(() => {});
    await worker.quit();
    await die(() =>
      setTimeout(() => {
        throw new Error('not of a task');
      }),
    );
    break;
  }
  case 'abort listener throws':
  case 'abort listener rejects': {
    const { currentTask } = await import('@machinery/core');
    server.registerTask('work', () => {
      currentTask().signal.addEventListener('abort', () => {
        if (process.argv[2] === 'abort listener rejects') return Promise.reject(new Error('of a listener'));
        throw new Error('of a listener');
      });
      return new Promise(() => {});
    });
    const worker = server.newWorker('worker');
    await worker.start();
    const result = await server.send({ name: 'work', headers: { 'machinery-timeout-ms': '5' } });
    await result.get().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await worker.quit();
    say('survived');
    break;
  }
  default:
    await survive();
}
