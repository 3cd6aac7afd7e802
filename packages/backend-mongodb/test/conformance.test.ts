// The backend on a MongoDB passes the suite of backends.

import { declaredBackends, testBackend } from '@machinery/conformance';
import { mongoServer } from '@machinery/services';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { MongoBackend } from '../src/index.ts';

const runner = { describe: describe.concurrent, it, before: beforeAll, after: afterAll };
const mongo = await mongoServer();
const url = mongo?.url as string;
afterAll(() => mongo?.stop());

const { '@machinery/backend-mongodb': declares } = declaredBackends;
describe.skipIf(mongo === undefined || declares === undefined)('MongoBackend', () => {
  const create = () => new MongoBackend({ url, database: 'conformance', commandTimeoutMs: 20_000 });
  testBackend(runner, { create, declares: declares ?? { storesResults: false }, patienceMs: 20_000 });
});
