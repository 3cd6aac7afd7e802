// What an adapter says of itself, before it stores anything.

import assert from 'node:assert/strict';
import { type Backend, type BackendCapabilities, contractVersion, silentLogger } from '@machinery/core';
import { declaredBackends } from '../declared-backends.ts';
import type { BackendSuite, BackendUnderTest } from './backend-under-test.ts';
import { newTaskUuid } from './sample-states.ts';

/** Every method that is not optional. */
const methods = [
  'write',
  'read',
  'purge',
  'initGroup',
  'readGroup',
  'renewGroup',
  'claimChord',
  'finishChord',
  'close',
] as const satisfies readonly (keyof Backend)[];

export function testContract(suite: BackendSuite, limitsByOptions: BackendUnderTest['limitsByOptions']): void {
  suite.describe('what it says of itself', () => {
    suite.it('it is written for this version of the contract, has a name and every method', async (open) => {
      const backend = await open();
      assert.equal(backend.contractVersion, contractVersion);
      assert.ok(typeof backend.name === 'string' && backend.name !== '', 'Expected a name for error messages');
      for (const method of methods) assert.equal(typeof backend[method], 'function', `Expected a method ${method}`);
    });

    suite.it('it declares what it must, with limits that are positive integers', async (open) => {
      const { capabilities } = await open();
      assert.deepEqual(plain(capabilities), plain(suite.declares));
      for (const limit of ['maxStateBytes', 'maxBatch', 'maxGroupSize'] as const) {
        const value = capabilities[limit] ?? 1;
        assert.ok(Number.isInteger(value) && value > 0, `Expected ${limit} to be a positive integer, got ${value}`);
      }
    });

    suite.it('one of our own declares what the table of our own adapters says', async (open) => {
      const { name, capabilities } = await open();
      const declared = Object.hasOwn(declaredBackends, name) ? declaredBackends[name] : undefined;
      if (declared !== undefined) assert.deepEqual(plain(capabilities), plain({ ...declared, ...limitsByOptions }));
    });

    suite.it('it has an optional method exactly if it declares it', async (open) => {
      const backend = await open();
      const { push, takesGroups } = suite.declares;
      assert.equal(typeof backend.watch, push === true ? 'function' : 'undefined');
      assert.equal(typeof backend.takeGroup, takesGroups === true ? 'function' : 'undefined');
    });

    suite.it('every instance says the same', async (open) => {
      const [a, b] = [await open(), await open()];
      assert.equal(a.name, b.name);
      assert.deepEqual(plain(a.capabilities), plain(b.capabilities));
    });

    suite.it('attaching it to several servers opens no connection and answers nothing', async (open) => {
      const backend = await open();
      const before = connections();
      for (let server = 0; server < 3; server++) {
        assert.equal(backend.attach?.({ logger: silentLogger }), undefined);
      }
      assert.deepEqual(connections(), before);
      // It works afterwards, too.
      assert.deepEqual(await backend.read([newTaskUuid()]), [undefined]);
    });
  });
}

/** A flag that is false is as good as absent. */
function plain(capabilities: BackendCapabilities): unknown {
  return { push: false, readConsumes: false, takesGroups: false, ...capabilities };
}

/** What a client would open at once: a socket, the look-up of an address, a thread. */
function connections(): string[] {
  return process.getActiveResourcesInfo().filter((name) => /TCP|Pipe|Addr|Worker|MessagePort/.test(name));
}
