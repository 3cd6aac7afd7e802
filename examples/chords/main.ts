// Sends a group, a chord, a chord in the middle of a chain, and a chord of which a member fails.

import { randomUUID } from 'node:crypto';
import { chain, chord, group, Server, silentLogger, TaskFailedError } from '@machinery/core';
import { MemoryBackend, MemoryBroker } from '@machinery/core/memory';
import { complain, download, publish, register, resize } from './tasks.ts';

const timeoutMs = 10_000;

await using server = new Server({ broker: new MemoryBroker(), backend: new MemoryBackend(), logger: silentLogger });
register(server);
await server.newWorker('worker-1').start();

const widths = [160, 640, 1_280];

// A group: what its members return.
const files = await server.send(group(widths.map((width) => resize(width, 'cat.png'))));
console.log(await files.get({ timeoutMs }));

// A chord: what its callback returns, which has all that the members returned.
const members = widths.map((width) => resize(width, 'cat.png'));
const album = await server.send(chord(members, publish.partial('cats')));
console.log(await album.get({ timeoutMs }));

// In a chain, each member gets what the step before has returned.
const steps = chain(
  download('https://example.com/dog.png'),
  chord(
    widths.map((width) => resize.partial(width)),
    publish.partial('dogs'),
  ),
);
const downloaded = await server.send(steps);
console.log(await downloaded.get({ timeoutMs }));
const { done, total } = await downloaded.progress();
console.log(`${done} of ${total} tasks are done`);

// When a member fails, the callback fails without running, and its error callbacks are sent.
const uuid = randomUUID();
const callback = publish.partial('letters').with({ onError: [complain.partial().with({ uuid })] });
const spoiled = await server.send(chord([resize(160, 'cat.png'), resize(160, 'letter.txt')], callback));
try {
  await spoiled.get({ timeoutMs });
} catch (error) {
  if (!(error instanceof TaskFailedError)) throw error;
  console.log(`${error.taskName} failed: ${error.error}`);
}
console.log(await server.result(uuid, complain).get({ timeoutMs }));
