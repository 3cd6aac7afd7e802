// A worker in a process of its own. `node launched.mjs <how its task ends when it is told to stop>`
import { currentTask, Server, silentLogger } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const say = (text) => process.stdout.write(`${text}\n`);
const broker = new MemoryBroker();
const server = new Server({ broker, backend: new MemoryBackend(), logger: { ...silentLogger, warn: say } });
server.registerTask('work', async () => {
  const { signal } = currentTask();
  say('started');
  await new Promise((resolve, reject) => {
    // Held open by a timer, as work in progress would be.
    const timer = setInterval(() => {}, 1_000);
    const end = (settle) => () => {
      clearInterval(timer);
      settle();
    };
    if (process.argv[2] === 'waits') process.stdin.once('data', end(resolve));
    signal.addEventListener(
      'abort',
      end(() => reject(signal.reason)),
    );
  });
  say('ended');
});
await server.send({ name: 'work', uuid: 'task_w' });
await server.newWorker('worker', {}).launch();
process.stdin.destroy();
say(`state ${(await server.result('task_w').state()).state}`);
say(`waiting ${(await server.pendingTasks()).length}`);
