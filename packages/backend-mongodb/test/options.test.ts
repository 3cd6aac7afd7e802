// Options that are wrong, and what they are without a server.

import { describe, expect, it } from 'vitest';
import { MongoBackend, type MongoBackendOptions } from '../src/index.ts';
import { newClient } from './setup.ts';

const url = 'mongodb://127.0.0.1:1';

describe('options', () => {
  const invalid = (...parts: string[]) =>
    expect.objectContaining({
      code: 'ERR_MACHINERY_INVALID_OPTION',
      message: expect.stringMatching(parts.join('.*')),
    });

  it.each([
    [{}, ['MongoBackend', '`url` or `client`', 'none']],
    [{ url, client: newClient(url) }, ['MongoBackend', '`url` or `client`', 'both']],
    [{ url: '' }, ['MongoBackend', 'url', 'string']],
    [{ url: 5 }, ['MongoBackend', 'url', 'string', '5']],
    [{ url: 'http://localhost' }, ['MongoBackend', 'http://localhost', 'mongodb://']],
    [{ url: 'mongodb://user:secret@' }, ['MongoBackend', 'mongodb://\\*\\*\\*@']],
    [{ url: `${url}/?whatever=1` }, ['MongoBackend', 'whatever']],
    [{ client: {} }, ['MongoBackend', 'client', 'MongoClient']],
    [{ url, database: 5 }, ['MongoBackend', 'database', 'string', '5']],
    [{ url, commandTimeoutMs: 0 }, ['MongoBackend', 'commandTimeoutMs', 'integer', '0']],
    [{ url, poll: 5 }, ['MongoBackend', 'poll']],
  ] as [object, string[]][])('that are wrong are an error that names them: %#', (options, parts) => {
    expect(() => new MongoBackend(options as MongoBackendOptions)).toThrowError(invalid(...parts));
  });

  it('never show the password', () => {
    for (const wrong of [
      'mongodb://user:secret@',
      'mongo://user:secret@host',
      'mongodb://user:sec/ret@host:x',
      'mongodb://host/?tlsCertificateKeyFilePassword=secret&whatever=1',
    ]) {
      let thrown: unknown;
      try {
        new MongoBackend({ url: wrong });
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ code: 'ERR_MACHINERY_INVALID_OPTION' });
      expect(String((thrown as Error).stack)).not.toMatch(/sec\/?ret/);
      expect((thrown as Error).cause).toBeUndefined();
    }
  });

  it('do not connect by themselves', async () => {
    const backend = new MongoBackend({ url });
    expect(backend.capabilities).toEqual({ storesResults: true, maxStateBytes: 16_000_000, maxGroupSize: 100_000 });
    await backend.close();
  });
});
