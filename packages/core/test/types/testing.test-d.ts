// What a test server gives, by the types that a task declares, and that it is a Server.

import { expectTypeOf } from 'vitest';
import { chain, defineTask, json, type PlainSignature, type Server, type Signature, string } from '../../src/index.ts';
import { type Sent, TestServer, type TestServerOptions, testServer } from '../../src/testing/index.ts';
import { add, cleanUp, divide, format, greet, minus, store, upload } from './tasks.ts';

const server = testServer();
expectTypeOf(server).toEqualTypeOf<TestServer>();

// run: as `get`, without a way through the queue.
expectTypeOf(await server.run(add(1, 2))).toEqualTypeOf<number>();
expectTypeOf(await server.run(greet('you'))).toEqualTypeOf<string>();
expectTypeOf(await server.run(divide(7, 2))).toEqualTypeOf<[number, number]>();
expectTypeOf(await server.run(cleanUp())).toEqualTypeOf<undefined>();
expectTypeOf(await server.run(add(1).with({ headers: { a: 'b' } }))).toEqualTypeOf<number>();
expectTypeOf(await server.run(add.partial(1))).toEqualTypeOf<number>(); // a rest lacks nothing
const byHand: PlainSignature = { name: 'any' };
expectTypeOf(await server.run(byHand)).toBeUnknown();
// @ts-expect-error one argument is missing
void server.run(minus.partial(1));
// @ts-expect-error the task, not a signature of it
void server.run(add);
// @ts-expect-error a workflow is sent, and drained
void server.run(chain(add(1), add.partial(2)));
// @ts-expect-error it is run once: there is nothing to set
void server.run(add(1), { retries: 3 });

// sent: arguments as the handler gets them.
const order = defineTask('order', { args: [json<{ id: number }>(), string] });
expectTypeOf(server.sent(order)).toEqualTypeOf<Sent<[{ id: number }, string]>[]>();
expectTypeOf(server.sent(add)[0]?.args).toEqualTypeOf<number[] | undefined>();
expectTypeOf(server.sent(format)[0]?.args).toEqualTypeOf<[string, ...number[]] | undefined>();
expectTypeOf(server.sent(store).map(({ args: [name, value] }) => ({ name, value }))).toEqualTypeOf<
  { name: string; value: number }[]
>();
expectTypeOf(server.sent(upload)[0]?.args[0]).toEqualTypeOf<Uint8Array | undefined>();
expectTypeOf(server.sent()).toEqualTypeOf<Sent[]>();
expectTypeOf(server.sent('any')).toEqualTypeOf<Sent[]>();
expectTypeOf<Sent>().toHaveProperty('signature').toEqualTypeOf<Signature>();
expectTypeOf<Sent>().toHaveProperty('eta').toEqualTypeOf<Date | undefined>();
// @ts-expect-error a task, or a name
void server.sent(add(1));
// @ts-expect-error arguments of another type
server.sent(greet)[0]?.args satisfies [number] | undefined;

// drain and advance count.
expectTypeOf(server.drain({ maxTasks: 5, timeoutMs: 5 })).toEqualTypeOf<Promise<number>>();
expectTypeOf(server.advance(5, { maxTasks: 5 })).toEqualTypeOf<Promise<number>>();
// @ts-expect-error how far is not optional
void server.advance();
// @ts-expect-error an unknown option
void server.drain({ timeout: 5 });

// It goes where a Server is wanted, and sends with the same types.
declare function startApp(server: Server): { readonly server: Server };
expectTypeOf(startApp(server).server).toEqualTypeOf<Server>();
expectTypeOf(await (await server.send(add(1))).get()).toEqualTypeOf<number>();
await using disposable = testServer();
expectTypeOf(disposable.clock.now()).toEqualTypeOf<number>();
// @ts-expect-error a Server is no TestServer
const wrong: TestServer = startApp(server).server;
void wrong;

// Its options are those of a Server without adapters.
testServer({
  now: new Date(),
  worker: { concurrency: 1 },
  leaveUnhandled: true,
  defaultQueue: 'q',
  resultsExpireInSeconds: 5,
});
expectTypeOf<TestServerOptions>().not.toHaveProperty('broker');
expectTypeOf(new TestServer()).toEqualTypeOf<TestServer>();
// @ts-expect-error a Date, not its text
testServer({ now: '2027-01-01' });
// @ts-expect-error it has a broker
testServer({ broker: server.broker });
// @ts-expect-error it has a clock
testServer({ clock: server.clock });
