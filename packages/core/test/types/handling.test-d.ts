// What a handler gets and must return, by the types that its task declares.

import { expectTypeOf } from 'vitest';
import { bytes, defineTask, type TaskContext } from '../../src/index.ts';
import { add, cleanUp, divide, format, greet, minus, pair, server, store } from './tasks.ts';

const blob = defineTask('blob', { args: [bytes], returns: bytes });

server.handle(add, (context, ...terms) => {
  expectTypeOf(context).toEqualTypeOf<TaskContext>();
  expectTypeOf(terms).toEqualTypeOf<number[]>();
  return terms.length;
});
server.handle(minus, (_task, a, b) => {
  expectTypeOf(a).toBeNumber();
  expectTypeOf(b).toBeNumber();
  return a - b;
});
server.handle(format, (_task, template, ...values) => {
  expectTypeOf(template).toBeString();
  expectTypeOf(values).toEqualTypeOf<number[]>();
  return template;
});
server.handle(blob, (_task, content) => {
  expectTypeOf(content).toEqualTypeOf<Uint8Array>();
  return Buffer.from(content);
});

// Sooner or later.
server.handle(add, async (_task, ...terms) => terms.length);
server.handle(cleanUp, () => {});
server.handle(cleanUp, async () => {});
server.handle(add, () => {
  throw new Error('oops');
});
server.handle(add, async (): Promise<never> => {
  throw new Error('oops');
});

// A handler may take fewer arguments than it is given.
server.handle(minus, (_task, a) => a);
server.handle(minus, () => 1);

// Several results are a tuple.
server.handle(divide, (_task, a, b) => [Math.trunc(a / b), a % b]);
server.handle(pair, async () => ['one', 1]);
// @ts-expect-error the wrong order
server.handle(pair, () => [1, 'one']);
// @ts-expect-error one is missing
server.handle(pair, () => ['one']);
// @ts-expect-error one is too much
server.handle(pair, () => ['one', 1, 2]);
// @ts-expect-error one value is no tuple
server.handle(divide, (_task, a) => a);

// @ts-expect-error a wrong parameter
server.handle(add, (_task, ...terms: string[]) => terms.length);
// @ts-expect-error a wrong parameter
server.handle(greet, (_task, name: number) => String(name));
// @ts-expect-error one more parameter than there are arguments
server.handle(minus, (_task, a: number, b: number, c: number) => a + b + c);
// @ts-expect-error a wrong result
server.handle(add, () => '1');
// @ts-expect-error a wrong result, later
server.handle(add, async () => '1');
// @ts-expect-error no result where one is declared
server.handle(add, () => {});
// @ts-expect-error undefined where a result is declared
server.handle(add, async (_task, ...terms) => terms[0]);
// @ts-expect-error a result where none is declared
server.handle(store, async () => 1);
// @ts-expect-error a task's name is no task
server.handle('add', () => 1);
// @ts-expect-error a signature is no task
server.handle(add(1), () => 1);
// @ts-expect-error a handler is a function
server.handle(add, 1);

// Options of a handler.
server.handle(cleanUp, () => {}, { timeoutMs: 100, backoff: { delayMs: 1, factor: 1, maxDelayMs: 1, jitter: 0 } });
server.handle(cleanUp, () => {}, {
  backoff: (attempt, error) => {
    expectTypeOf(attempt).toBeNumber();
    expectTypeOf(error).toBeUnknown();
    return 1_000;
  },
});
// @ts-expect-error a wait is a number
server.handle(cleanUp, () => {}, { backoff: () => '1s' });
// @ts-expect-error a backoff has a delay
server.handle(cleanUp, () => {}, { backoff: { factor: 2 } });
// @ts-expect-error an unknown option
server.handle(cleanUp, () => {}, { timeout: 100 });

// Plain functions are not checked: they get what the sender sends.
server.registerTask('sum', (...terms: number[]) => terms.length);
server.registerTask('sum', async (text: string) => text);
server.registerTasks({ sum: (a: number, b: number) => a + b, say: () => {} });
// @ts-expect-error a task is a function
server.registerTask('sum', 1);
// @ts-expect-error all of them
server.registerTasks({ sum: 1 });
// @ts-expect-error by name
server.registerTasks([() => {}]);
