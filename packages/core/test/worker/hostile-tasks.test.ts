// Workers survive anything that a task throws, returns or does in a callback of its own.

import { inspect } from 'node:util';
import { beforeEach, describe, expect, it } from 'vitest';
import { consoleLogger } from '../../src/logger.ts';
import { type TestServer, testServer } from './test-server.ts';

let test: TestServer;
beforeEach(() => {
  test = testServer();
  test.server.registerTask('fine', () => 'fine');
});

function revokedProxy(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

const throwing = () => {
  throw new Error('a getter');
};

class Hostile {
  get message() {
    return throwing();
  }
  get name() {
    return throwing();
  }
  get stack() {
    return throwing();
  }
  get code() {
    return throwing();
  }
  toString() {
    return throwing();
  }
  toJSON() {
    return throwing();
  }
  [inspect.custom]() {
    return throwing();
  }
}

const thrown: [string, () => unknown, unknown][] = [
  ['undefined', () => undefined, 'undefined'],
  ['null', () => null, 'null'],
  ['a string', () => 'just text', 'just text'],
  ['an empty string', () => '', undefined],
  ['a bigint', () => 12n, '12'],
  ['a symbol', () => Symbol('s'), 'Symbol(s)'],
  ['a function', () => () => {}, '() => {}'],
  ['an object', () => ({ why: 'because' }), '{"why":"because"}'],
  ['an object with a message', () => ({ message: 'said' }), 'said'],
  ['an object without prototype', () => Object.create(null), '{}'],
  [
    'a cyclic object',
    () =>
      Object.assign(
        {},
        {
          get self() {
            return this;
          },
        },
      ),
    expect.any(String),
  ],
  ['an error without message', () => new RangeError(''), 'RangeError'],
  ['an error without message or name', () => Object.assign(new Error(''), { name: '' }), undefined],
  ['an error whose message is a number', () => Object.assign(new Error('x'), { message: 5 }), expect.any(String)],
  [
    'an error whose message is a symbol',
    () => Object.assign(new Error('x'), { message: Symbol('m') }),
    expect.any(String),
  ],
  ['an error whose name is an object', () => Object.assign(new Error(''), { name: {} }), expect.any(String)],
  ['an object whose getters throw', () => new Hostile(), expect.any(String)],
  ['an error whose getters throw', () => Object.setPrototypeOf(new Error('x'), Hostile.prototype), expect.any(String)],
  ['a revoked proxy', revokedProxy, expect.any(String)],
  [
    'a proxy whose traps throw',
    () => new Proxy({}, { has: throwing, get: throwing, getPrototypeOf: throwing }),
    expect.any(String),
  ],
  [
    'something that looks like an error of ours',
    () => ({
      [Symbol.for('@machinery/core.error')]: true,
      get code() {
        return throwing();
      },
    }),
    expect.any(String),
  ],
];

describe.each<[string, (value: unknown) => unknown]>([
  [
    'throws',
    (value) => {
      throw value;
    },
  ],
  ['rejects with', (value) => Promise.reject(value)],
])('a task that %s', (_, end) => {
  it.each(thrown)(
    '%s is a FAILURE with a text',
    async (_name, make, text) => {
      test.server.registerTask('hostile', () => end(make()));
      await test.startWorker();
      await test.server.send({ name: 'hostile', uuid: 'task_h', onError: [{ uuid: 'sorry', name: 'fine' }] });
      const { error } = await test.backend.final('task_h');
      expect(error === '' ? undefined : error).toEqual(text);
      expect((await test.broker.published.first(({ uuid }) => uuid === 'sorry')).args).toEqual([
        { type: 'string', value: error ?? '' },
      ]);
      expect(await (await test.server.send({ name: 'fine' })).get()).toBe('fine');
    },
    2_000,
  );
});

describe('the console as logger', () => {
  it.each(thrown.filter(([name]) => /getters|proxy|ours/.test(name)))(
    'survives %s',
    async (_name, make) => {
      const errors: string[] = [];
      const server = {
        logger: {
          ...consoleLogger,
          error: (text: string, ...more: unknown[]) => errors.push(inspect([text, ...more])),
        },
      };
      test = testServer({ server: server as never });
      test.server.registerTask('hostile', () => Promise.reject(make()));
      await test.startWorker();
      await test.server.send({ name: 'hostile', uuid: 'task_h' });
      expect(await test.backend.final('task_h')).toMatchObject({ state: 'FAILURE' });
    },
    2_000,
  );
});

describe('a task that returns', () => {
  const returned: [string, () => unknown][] = [
    ['a thenable whose then throws', () => Object.defineProperty({}, 'then', { value: throwing })],
    ['a thenable whose then is a getter that throws', () => Object.defineProperty({}, 'then', { get: throwing })],
    ['a promise whose then throws', () => Object.defineProperty(Promise.resolve(1), 'then', { value: throwing })],
    ['a revoked proxy', revokedProxy],
    ['a promise of a revoked proxy', async () => [revokedProxy()]],
    ['a function', () => () => {}],
    ['a symbol', () => Symbol('s')],
    ['an object', () => ({ a: 1 })],
    [
      'a cyclic array',
      () => {
        const a: unknown[] = [];
        a.push(a);
        return a;
      },
    ],
    ['NaN', () => Number.NaN],
    ['null', () => null],
    ['an object whose getters throw', () => new Hostile()],
  ];
  it.each(returned)(
    '%s is a FAILURE',
    async (_name, make) => {
      test.server.registerTask('hostile', make);
      await test.startWorker();
      await test.server.send({ name: 'hostile', uuid: 'task_h' });
      expect(await test.backend.final('task_h')).toMatchObject({ state: 'FAILURE', error: expect.stringMatching(/./) });
      expect(await (await test.server.send({ name: 'fine' })).get()).toBe('fine');
    },
    2_000,
  );

  it('a thenable that answers twice succeeds with the first answer', async () => {
    test.server.registerTask('hostile', () => ({
      // biome-ignore lint/suspicious/noThenProperty: a hostile thenable is what is tested
      then(resolve: (value: unknown) => void, reject: (error: unknown) => void) {
        resolve(1);
        resolve(2);
        reject(new Error('three'));
      },
    }));
    await test.startWorker();
    expect(await (await test.server.send({ name: 'hostile' })).get()).toBe(1);
  });

  it('a promise with a then of its own that answers twice succeeds with the first answer', async () => {
    const promise = Object.assign(Promise.resolve(0), {
      // biome-ignore lint/suspicious/noThenProperty: a hostile thenable is what is tested
      then(resolve: (value: unknown) => void) {
        resolve(1);
        resolve(2);
      },
    });
    test.server.registerTask('hostile', () => promise);
    await test.startWorker();
    expect(await (await test.server.send({ name: 'hostile' })).get()).toBe(1);
  });
});
