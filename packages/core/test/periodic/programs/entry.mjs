// A process with one entry and nothing else to do. `node entry.mjs <spec> <how the entry ends when stdin does>`
import { Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const [spec, end] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);
const lock = {
  contractVersion: 1,
  name: 'open',
  acquire: async (key, expiresAtNs) => {
    say(`${key} ${expiresAtNs}`);
    return true;
  },
  close: async () => {},
};
let sent = 0;
const prePublishHandler = () => {
  say(`sent ${++sent}`);
};
const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), lock, prePublishHandler });
const entry = server.registerPeriodicTask(spec, 'n', { name: 'task' });
if (end === 'nothing') {
  process.stdin.destroy();
  setImmediate(() => say('idle'));
} else {
  process.stdin.once('data', async () => {
    if (end === 'close') await server.close();
    else entry[end]();
    say('ended');
  });
  if (end !== 'close') say('registered');
}
