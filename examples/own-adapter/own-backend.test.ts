// What passes the suite of @machinery/conformance works in a Server. Here it is also seen in one.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { testBackend } from '@machinery/conformance';
import { chord, defineTask, int64, rest, Server } from '@machinery/core';
import { MemoryBroker } from '@machinery/core/memory';
import { Collection } from './collection.ts';
import { OwnBackend, type Store } from './own-backend.ts';

const store: Store = { tasks: new Collection(), groups: new Collection() };

testBackend(
  { describe, it, before, after },
  { create: () => new OwnBackend(store), declares: { storesResults: true } },
);

it('completes a chord', async () => {
  const add = defineTask('add', { args: rest(int64), returns: int64 });
  await using server = new Server({ broker: new MemoryBroker(), backend: new OwnBackend(store) });
  server.handle(add, (_task, ...terms) => terms.reduce((sum, term) => sum + term, 0));
  await server.newWorker('worker-1').start();
  const result = await server.send(chord([add(1, 1), add(2, 2)], add.partial()));
  assert.equal(await result.get({ timeoutMs: 5_000 }), 6);
});
