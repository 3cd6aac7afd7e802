// Runs what Go and Node send to `node_tasks`.

import { newServer } from './server.ts';
import { list, slugify } from './tasks.ts';

await using server = newServer();
server.handle(slugify, (_task, title) => {
  const plain = title.normalize('NFKD').replace(/\p{Mark}/gu, '');
  return plain.toLowerCase().replace(/[^\p{Letter}\p{Number}]+/gu, '-');
});
server.handle(list, (_task, ...numbers) => numbers.join(', '));
await server.newWorker('node-worker', { queue: 'node_tasks' }).launch(); // until SIGINT or SIGTERM
