// Sends typed tasks to a worker of the same process. The compiler checks arguments, handlers and results.

import { errorText, Server } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { add, splitName, total } from './tasks.ts';

await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend() });

server.handle(add, (_task, ...terms) => terms.reduce((sum, term) => sum + term, 0));
server.handle(splitName, (_task, name) => {
  const [first = '', last = ''] = name.split(' ');
  return [first, last];
});
server.handle(total, (_task, { items }) => items.reduce((sum, { cents }) => sum + cents, 0));
await server.newWorker('worker-1').start();

const sum = await server.send(add(1, 2, 3));
console.log(`add: ${await sum.get({ timeoutMs: 5_000 })}`);

const names = await server.send(splitName('Ada Lovelace'));
const [first, last] = await names.get({ timeoutMs: 5_000 });
console.log(`split_name: ${last}, ${first}`);

const items = [
  { name: 'tea', cents: 450 },
  { name: 'cup', cents: 1_200 },
];
const cents = await server.send(total({ id: 7, items }));
console.log(`total: ${await cents.get({ timeoutMs: 5_000 })}`);

// What the compiler cannot know, because it comes from a request or a file, is checked when the signature is made.
const fromOutside = JSON.parse('{ "id": 8, "items": [] }');
try {
  total(fromOutside);
} catch (error) {
  console.log(errorText(error));
}

try {
  // @ts-expect-error: a string is no int64
  add(1, '2');
} catch (error) {
  console.log(errorText(error));
}
