// When a spec is due. `node next.mjs <spec> <after>`
import { Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';

const [spec, after] = process.argv.slice(2);
const clock = { now: () => Date.parse(after), wakeAt: () => ({ cancel() {} }) };
const lock = { contractVersion: 1, name: 'none', acquire: async () => false, close: async () => {} };
const server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), lock, clock });
const { next } = server.registerPeriodicTask(spec, 'entry', { name: 'task' });
process.stdout.write(`${next?.toISOString().replace('.000Z', 'Z')}\n`);
