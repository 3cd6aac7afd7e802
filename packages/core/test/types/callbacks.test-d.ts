// What a callback gets from the task before it: `onSuccess` takes only signatures that lack exactly that, or less.

import { defineTask, float64, int32, int64, json, rest, string } from '../../src/index.ts';
import { add, cleanUp, divide, double, format, greet, half, minus, pair, server, store } from './tasks.ts';

const total = defineTask('total', { args: [string, rest(int64)], returns: int64 });
const inverse = defineTask('inverse', { args: [float64], returns: float64 });
const small = defineTask('small', { args: [int32] });
const parse = defineTask('parse', { args: [json<{ id: number }>()], returns: json<{ id: number }>() });

// One result becomes the last argument.
add(1, 2).with({ onSuccess: [double.partial()] });
add(1, 2).with({ onSuccess: [minus.partial(10), double.partial(), add(3), add.partial()] });
add(1, 2).with({ onSuccess: [store.partial('sum'), total.partial('sum'), total.partial('sum', 1, 2)] });
greet('you').with({ onSuccess: [greet.partial(), format.partial()] });
half(3).with({ onSuccess: [inverse.partial(), format.partial('%f')] });
void server.send(add(1), { onSuccess: [double.partial()] });

// @ts-expect-error a text for a number
greet('you').with({ onSuccess: [double.partial()] });
// @ts-expect-error a number for a text
add(1).with({ onSuccess: [greet.partial()] });
// @ts-expect-error float64 for int64: a Go task of another type panics
half(3).with({ onSuccess: [double.partial()] });
// @ts-expect-error int64 for float64
add(3).with({ onSuccess: [inverse.partial()] });
// @ts-expect-error int64 for int32
add(3).with({ onSuccess: [small.partial()] });
// @ts-expect-error one more argument is missing than there are results
add(1).with({ onSuccess: [minus.partial()] });
// @ts-expect-error it has all its arguments, the result is one too much
add(1).with({ onSuccess: [double(1)] });
// @ts-expect-error it takes none at all
add(1).with({ onSuccess: [cleanUp()] });
// @ts-expect-error one of them is wrong
add(1).with({ onSuccess: [double.partial(), greet.partial()] });
// @ts-expect-error in the options of send too
void server.send(greet('you'), { onSuccess: [double.partial()] });
// @ts-expect-error a task is no signature
add(1).with({ onSuccess: [double] });
// @ts-expect-error callbacks are a list
add(1).with({ onSuccess: double.partial() });

// Several results become the last arguments, in order.
divide(7, 2).with({ onSuccess: [minus.partial(), add.partial(), total.partial('sum')] });
pair().with({ onSuccess: [store.partial()] });
// @ts-expect-error two results for one argument
divide(7, 2).with({ onSuccess: [double.partial()] });
// @ts-expect-error two results for one argument that is left
divide(7, 2).with({ onSuccess: [minus.partial(1)] });
// @ts-expect-error the wrong order
pair().with({ onSuccess: [defineTask('other', { args: [int64, string] }).partial()] });
// @ts-expect-error a text in a rest of numbers
pair().with({ onSuccess: [add.partial()] });

// No result: the callback has all its arguments.
cleanUp().with({ onSuccess: [cleanUp(), double(1), add(), add.partial(1), format('%s')] });
// @ts-expect-error nobody gives what is missing
cleanUp().with({ onSuccess: [double.partial()] });
// @ts-expect-error nor the one before a rest
cleanUp().with({ onSuccess: [format.partial()] });

// A chain is checked step by step.
add(1).with({ onSuccess: [half.partial().with({ onSuccess: [inverse.partial()] })] });
// @ts-expect-error the last step does not fit
add(1).with({ onSuccess: [half.partial().with({ onSuccess: [double.partial()] })] });

// JSON values are compared as well as the wire type.
parse({ id: 1 }).with({ onSuccess: [parse.partial()] });
// @ts-expect-error JSON of one form is not any text
greet('you').with({ onSuccess: [parse.partial()] });

// Immutable: the results are not passed on, so the callback has all its arguments.
add(1).with({ immutable: true, onSuccess: [cleanUp(), double(1), greet('you'), add(1)] });
// @ts-expect-error what is missing is not given
add(1).with({ immutable: true, onSuccess: [double.partial()] });
void server.send(add(1), { immutable: true, onSuccess: [cleanUp()] });
// @ts-expect-error the options of send too
void server.send(add(1), { immutable: true, onSuccess: [double.partial()] });

// onError: the error's text is the first argument.
const report = defineTask('report', { args: [string] });
add(1).with({ onError: [report.partial(), { name: 'of another program' }] });
// @ts-expect-error the error's text is no number
add(1).with({ onError: [double.partial()] });
// @ts-expect-error it has its argument already
add(1).with({ onError: [report('broken')] });

// Plain signatures fit everywhere.
add(1).with({ onSuccess: [{ name: 'any' }, { name: 'add', args: [{ type: 'int64', value: 1 }] }] });
void server.send({ name: 'any', onSuccess: [double.partial(), { name: 'any' }] });
// @ts-expect-error a signature has a name
add(1).with({ onSuccess: [{ args: [] }] });
