// The errors of this project, and the text of anything that is thrown.

import { describe, expect, it } from 'vitest';
import { errorText, MachineryError, NotSupportedError, RetryLater, TaskFailedError } from '../../src/errors.ts';
import { thrownBy } from './setup.ts';

/** Another copy of core in the same process. */
const other = (await import(`../../src/errors.ts?${'copy'}`)) as typeof import('../../src/errors.ts');

describe('MachineryError', () => {
  it('keeps its code and its cause', () => {
    const cause = new Error('inside');
    const error = new MachineryError('ERR_MACHINERY_CLOSED', 'closed', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'MachineryError', code: 'ERR_MACHINERY_CLOSED', message: 'closed', cause });
    expect(new MachineryError('ERR_MACHINERY_CLOSED', 'closed')).not.toHaveProperty('cause');
  });

  it('is told by `is`, with or without a code', () => {
    const error = new MachineryError('ERR_MACHINERY_CLOSED', 'closed');
    expect(MachineryError.is(error)).toBe(true);
    expect(MachineryError.is(error, 'ERR_MACHINERY_CLOSED')).toBe(true);
    expect(MachineryError.is(error, 'ERR_MACHINERY_ABORTED')).toBe(false);
  });

  it('of another copy of core is one too', () => {
    expect(other.MachineryError).not.toBe(MachineryError);
    const error = new other.RetryLater(5);
    expect(error).not.toBeInstanceOf(MachineryError);
    expect(MachineryError.is(error, 'ERR_MACHINERY_RETRY_LATER')).toBe(true);
    expect(other.MachineryError.is(new RetryLater(5), 'ERR_MACHINERY_RETRY_LATER')).toBe(true);
    expect(MachineryError.is(new other.TaskFailedError({ name: 'a', uuid: 'b', error: 'c' }))).toBe(true);
  });

  it.each([undefined, null, 'ERR_MACHINERY_CLOSED', 5, {}, new Error('x'), { code: 'ERR_MACHINERY_CLOSED' }, () => {}])(
    'is not %o',
    (value) => {
      expect(MachineryError.is(value)).toBe(false);
      expect(MachineryError.is(value, 'ERR_MACHINERY_CLOSED')).toBe(false);
    },
  );

  it('names its subclasses', () => {
    expect(new NotSupportedError('broker-x', 'priorities')).toMatchObject({
      name: 'NotSupportedError',
      code: 'ERR_MACHINERY_NOT_SUPPORTED',
      message: 'broker-x does not support priorities',
    });
    expect(new TaskFailedError({ name: 'add', uuid: 'task_1', error: 'oops' })).toMatchObject({
      name: 'TaskFailedError',
      message: 'oops',
      taskName: 'add',
      taskUuid: 'task_1',
    });
    expect(new RetryLater(5, 'busy')).toMatchObject({ name: 'RetryLater', message: 'busy', delayMs: 5 });
  });

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, '5', undefined])(
    'RetryLater refuses a delay of %o',
    async (delay) => {
      expect(await thrownBy(() => new RetryLater(delay as number))).toMatchObject({
        code: 'ERR_MACHINERY_INVALID_OPTION',
        message: `Expected the delay of RetryLater to be a number of milliseconds >= 0, got \`${delay}\` (${typeof delay})`,
      });
    },
  );
});

describe('errorText', () => {
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  it.each<[string, unknown, string]>([
    ['the message of an error', new TypeError('wrong'), 'wrong'],
    ['the name of an error without a message', new TypeError(), 'TypeError'],
    ['the message of what looks like an error', { message: 'like one' }, 'like one'],
    ['a text', 'oops', 'oops'],
    ['a number', 5, '5'],
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a symbol', Symbol('x'), 'Symbol(x)'],
    ['an object', { a: 1 }, '{"a":1}'],
    ['an object with a message that is no text', { message: 5 }, '{"message":5}'],
    ['an object in a circle', circular, 'The task threw a value that has no text'],
    ['a bigint in an object', { a: 1n }, 'The task threw a value that has no text'],
    [
      'an object that throws',
      {
        get message() {
          throw new Error('no');
        },
      },
      'The task threw a value that has no text',
    ],
    ['an object without a prototype', Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ['an object whose JSON is nothing', { toJSON: () => undefined }, '[object Object]'],
  ])('is %s', (_, thrown, text) => {
    expect(errorText(thrown)).toBe(text);
  });

  it.each<[string, unknown]>([
    ['a message that is no text', Object.assign(new Error('x'), { message: 5 })],
    ['a message that is an object', Object.assign(new Error('x'), { message: { a: 1 } })],
    ['no name either', Object.assign(new Error(''), { name: undefined })],
    [
      'a revoked proxy',
      (() => {
        const { proxy, revoke } = Proxy.revocable({}, {});
        revoke();
        return proxy;
      })(),
    ],
  ])('is a text for an error with %s', (_, thrown) => {
    expect(typeof errorText(thrown)).toBe('string');
  });
});
