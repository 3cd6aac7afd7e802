// What a task may be called with, by the types that it declares.

import { expectTypeOf } from 'vitest';
import { defineTask, int64, rest, string } from '../../src/index.ts';
import { add, cleanUp, divide, double, format, greet, minus, store, upload } from './tasks.ts';

// A rest takes any number of arguments of its type.
add();
add(1);
add(1, 2, 3);
add(...[1, 2, 3]);
// @ts-expect-error a text is no int64
add('x');
// @ts-expect-error neither in the middle
add(1, '2', 3);
// @ts-expect-error nor is a bigint: int64 is a number, bigInt64 takes both
add(1n);
// @ts-expect-error undefined is no argument
add(undefined);
// @ts-expect-error null neither
add(null);

// Fixed arguments are counted.
minus(1, 2);
// @ts-expect-error one is missing
minus(1);
// @ts-expect-error all are missing
minus();
// @ts-expect-error one is too much
minus(1, 2, 3);
// @ts-expect-error the wrong order
store(1, 'one');
store('one', 1);
cleanUp();
// @ts-expect-error it takes none
cleanUp(1);

// Fixed ones go before a rest.
format('%s');
format('%s', 1.5, 2.5);
// @ts-expect-error the fixed one is missing
format();
// @ts-expect-error the rest has a type of its own
format('%s', 'x');

// Bytes are a Uint8Array, which a Buffer is.
upload(new Uint8Array(3));
upload(Buffer.from('foo'));
// @ts-expect-error a text is not
upload('foo');

// Partial: any beginning.
minus.partial();
minus.partial(1);
minus.partial(1, 2);
// @ts-expect-error more than it takes
minus.partial(1, 2, 3);
// @ts-expect-error a wrong type
minus.partial('1');
store.partial('one');
// @ts-expect-error the last argument is not the first
store.partial(1);
add.partial();
add.partial(1, 2);
// @ts-expect-error a wrong type in a rest
add.partial(1, 'x');
format.partial();
format.partial('%s');
format.partial('%s', 1, 2);
// @ts-expect-error a wrong type behind the fixed ones
format.partial('%s', 'x');
// @ts-expect-error it takes none
cleanUp.partial(1);

// The definition says what it is.
expectTypeOf(add.name).toBeString();
expectTypeOf(add).parameters.toEqualTypeOf<number[]>();
expectTypeOf(minus).parameters.toEqualTypeOf<[number, number]>();
expectTypeOf(format).parameters.toEqualTypeOf<[string, ...number[]]>();
expectTypeOf(cleanUp).parameters.toEqualTypeOf<[]>();
expectTypeOf(double(1).definition.returns).toEqualTypeOf(double.returns);
expectTypeOf(divide(1, 2).definition.returns).toEqualTypeOf(divide.returns);

// Declarations.
defineTask('x');
defineTask('x', {});
defineTask('x', { args: [] });
defineTask('x', { args: [string, rest(int64)], returns: [] });
defineTask('x', { returns: string, queue: 'q', retries: 3, priority: 9, timeoutMs: 100, backoff: { delayMs: 5 } });
// @ts-expect-error a name is a text
defineTask(1);
// @ts-expect-error a task has a name
defineTask();
// @ts-expect-error a wire type's name is no type
defineTask('x', { args: ['int64'] });
// @ts-expect-error a type alone is no list of arguments
defineTask('x', { args: int64 });
// @ts-expect-error rest(...) is no result
defineTask('x', { returns: rest(int64) });
// @ts-expect-error an unknown option
defineTask('x', { argz: [int64] });
// @ts-expect-error a retry count is a number
defineTask('x', { retries: '3' });
// @ts-expect-error an ETA is for one signature, not for all
defineTask('x', { eta: new Date() });
// @ts-expect-error rest(...) is the last argument only
defineTask('x', { args: [rest(int64), string] });
// @ts-expect-error of rest(...) there is one
defineTask('x', { args: [rest(rest(int64))] });

// `with` keeps the types.
expectTypeOf(greet('you').with({ queue: 'q' })).toEqualTypeOf(greet('you'));
