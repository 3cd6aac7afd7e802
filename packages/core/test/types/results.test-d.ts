// What `get` gives, by the types that a task declares, and what can be sent at all.

import { expectTypeOf } from 'vitest';
import {
  AsyncResult,
  type CompleteSignature,
  defineTask,
  type PlainSignature,
  type Signature,
  slice,
  string,
  type TaskState,
} from '../../src/index.ts';
import { add, cleanUp, divide, format, greet, minus, pair, server, store } from './tasks.ts';

const split = defineTask('split', { args: [string], returns: slice(string) });
const none = defineTask('none', { returns: [] });

expectTypeOf(await (await server.send(add(1, 2))).get()).toEqualTypeOf<number>();
expectTypeOf(await (await server.send(greet('you'))).get()).toEqualTypeOf<string>();
expectTypeOf(await (await server.send(split('foo'))).get()).toEqualTypeOf<string[]>();
expectTypeOf(await (await server.send(divide(7, 2))).get()).toEqualTypeOf<[number, number]>();
expectTypeOf(await (await server.send(pair())).get()).toEqualTypeOf<[string, number]>();
expectTypeOf(await (await server.send(cleanUp())).get()).toEqualTypeOf<undefined>();
expectTypeOf(await (await server.send(store('one', 1))).get()).toEqualTypeOf<undefined>();
expectTypeOf(await (await server.send(none())).get()).toEqualTypeOf<[]>();
expectTypeOf(await (await server.sendTask(divide(7, 2))).get()).toEqualTypeOf<[number, number]>();
expectTypeOf(await (await server.send(add(1), { queue: 'q' })).get({ timeoutMs: 5 })).toEqualTypeOf<number>();
expectTypeOf(await (await server.send(add(1).with({ queue: 'q' }))).get()).toEqualTypeOf<number>();

// Many in one line keep their types.
const [sum, greeting] = await Promise.all([server.send(add(1)), server.send(greet('you'))]);
expectTypeOf(sum).toEqualTypeOf<AsyncResult<number>>();
expectTypeOf(greeting).toEqualTypeOf<AsyncResult<string>>();

// touch and state.
const touched = await sum.touch();
if (touched.done) expectTypeOf(touched.value).toEqualTypeOf<number>();
// @ts-expect-error there is no value yet
else touched.value;
expectTypeOf(await sum.state()).toEqualTypeOf<TaskState | undefined>();
expectTypeOf(sum.uuid).toBeString();
// @ts-expect-error an unknown option
void sum.get({ timeout: 5 });
// @ts-expect-error a timeout is a number
void sum.get({ timeoutMs: '5' });
// @ts-expect-error a signal, not its controller
void sum.get({ signal: new AbortController() });

// A result that was sent elsewhere.
expectTypeOf(await server.result('task_1', add).get()).toEqualTypeOf<number>();
expectTypeOf(await server.result('task_1', split).get()).toEqualTypeOf<string[]>();
expectTypeOf(await server.result('task_1', cleanUp).get()).toEqualTypeOf<undefined>();
expectTypeOf(await server.result('task_1').get()).toBeUnknown();
// @ts-expect-error the task, not its signature
server.result('task_1', add(1));
// @ts-expect-error made by a server
new AsyncResult();

// A partial signature that lacks nothing can be sent.
expectTypeOf(await (await server.send(minus.partial(1, 2))).get()).toEqualTypeOf<number>();
expectTypeOf(await (await server.send(add.partial())).get()).toEqualTypeOf<number>();
expectTypeOf(await (await server.send(add.partial(1))).get()).toEqualTypeOf<number>();
expectTypeOf(await (await server.send(format.partial('%s'))).get()).toEqualTypeOf<string>();
expectTypeOf(await (await server.send(cleanUp.partial())).get()).toEqualTypeOf<undefined>();
// @ts-expect-error the second argument is missing
void server.send(minus.partial(1));
// @ts-expect-error both are missing
void server.send(minus.partial());
// @ts-expect-error what goes before the rest is missing
void server.send(format.partial());
// @ts-expect-error options do not complete it
void server.send(minus.partial(1).with({ queue: 'q' }));
// @ts-expect-error by Go's name neither
void server.sendTask(minus.partial(1));
const complete: CompleteSignature = minus(1, 2);
// @ts-expect-error it is not complete
const incomplete: CompleteSignature = minus.partial(1);
void [complete, incomplete];

// What is no signature cannot be sent.
// @ts-expect-error the task has to be called
void server.send(add);
// @ts-expect-error a name is no signature
void server.send('add');
// @ts-expect-error undefined neither
void server.send(undefined);
// @ts-expect-error null neither
void server.send(null);

// Plain signatures have no declared result.
expectTypeOf(await server.send({ name: 'add', args: [{ type: 'int64', value: 1 }] })).toEqualTypeOf<AsyncResult>();
expectTypeOf(await (await server.send({ name: 'add' })).get()).toBeUnknown();
const plain: PlainSignature = { name: 'add', routingKey: 'q', args: [{ name: 'a', type: 'int64', value: 1n }] };
void server.send(plain, { delayMs: 5 });
declare const anySignature: Signature;
void server.send(anySignature);
// @ts-expect-error a signature has a name
void server.send({ args: [] });
// @ts-expect-error an argument has a type
void server.send({ name: 'add', args: [{ value: 1 }] });
// @ts-expect-error arguments are typed values
void server.send({ name: 'add', args: [1, 2] });
// @ts-expect-error Go's names are for the wire
void server.send({ Name: 'add' });
// @ts-expect-error the queue of a plain signature is its routing key
void server.send({ name: 'add', queue: 'q' });
