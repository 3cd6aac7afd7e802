// What the client sends and what has to come back. ../go has the same cases in the same order; texts are as Go prints values.

import { randomUUID } from 'node:crypto';
import { type Arg, chain, chord, encodeSignatureCanonical, type GetOptions, group, type Server } from '@machinery/core';
import {
  add,
  concat,
  delayTest,
  echoBool,
  echoBytes,
  echoFloat32,
  echoFloat64,
  echoFloats,
  echoInt64,
  echoInt64s,
  echoString,
  echoStrings,
  echoUint64,
  failUntil,
  logError,
  multiply,
  panic,
  retryLaterUntil,
  returnJustError,
  returnMultipleValues,
  split,
  sum,
} from './tasks.ts';

export interface Case {
  readonly name: string;
  readonly want: string;
  /** What comes back. Throws what `get` throws. */
  run(): Promise<string>;
}

interface Gettable<T> {
  get(options: GetOptions): Promise<T>;
}

export function casesOf(server: Server, timeoutMs: number): readonly Case[] {
  async function text<T>(
    sent: Gettable<T> | Promise<Gettable<T>>,
    print: (value: T) => string = goText,
  ): Promise<string> {
    return print(await (await sent).get({ timeoutMs }));
  }
  /** Of a task that is sent when another one has ended. */
  async function callbackText(sendWith: (uuid: string) => Promise<unknown>): Promise<string> {
    const uuid = newUuid();
    await sendWith(uuid);
    return text(server.result(uuid));
  }
  const key = newUuid();
  return [
    { name: 'task', want: '2', run: () => text(server.send(add(1, 1))) },
    { name: 'sum', want: '3', run: () => text(server.send(sum([1, 2]))) },
    { name: 'concat', want: 'abc', run: () => text(server.send(concat(['a', 'b', 'c']))) },
    { name: 'split', want: '[a b]', run: () => text(server.send(split('ab'))) },
    {
      name: 'just error fails',
      want: 'error: Test error',
      run: () => text(server.send(returnJustError('Test error', true))),
    },
    { name: 'just error succeeds', want: '()', run: () => text(server.send(returnJustError('', false))) },
    {
      name: 'two values',
      want: 'foo, bar',
      run: () => text(server.send(returnMultipleValues('foo', 'bar', false)), (values) => values.join(', ')),
    },
    {
      name: 'two values fail',
      want: 'error: some error',
      run: () => text(server.send(returnMultipleValues('', '', true))),
    },
    { name: 'panic', want: 'error: oops', run: () => text(server.send(panic())) },
    {
      name: 'max int64',
      want: '9223372036854775807',
      run: () => text(server.send(echoInt64(9_223_372_036_854_775_807n))),
    },
    {
      name: 'min int64',
      want: '-9223372036854775808',
      run: () => text(server.send(echoInt64(-9_223_372_036_854_775_808n))),
    },
    {
      name: 'max uint64',
      want: '18446744073709551615',
      run: () => text(server.send(echoUint64(18_446_744_073_709_551_615n))),
    },
    { name: 'whole float64', want: '3', run: () => text(server.send(echoFloat64(3))) },
    { name: 'float64', want: '0.1', run: () => text(server.send(echoFloat64(0.1))) },
    { name: 'large float64', want: '1e+21', run: () => text(server.send(echoFloat64(1e21))) },
    { name: 'float32', want: '0.1', run: () => text(server.send(echoFloat32(0.1))) },
    {
      name: 'string',
      want: '<a&b> \u2028 日本 😀 \x01\\"',
      run: () => text(server.send(echoString('<a&b> \u2028 日本 😀 \x01\\"'))),
    },
    { name: 'bool', want: 'true', run: () => text(server.send(echoBool(true))) },
    {
      name: 'bytes',
      want: '[0 1 254 255]',
      run: () => text(server.send(echoBytes(Uint8Array.of(0, 1, 254, 255)))),
    },
    { name: 'strings', want: '[a  ü]', run: () => text(server.send(echoStrings(['a', '', 'ü']))) },
    { name: 'floats', want: '[1 1.5]', run: () => text(server.send(echoFloats([1, 1.5]))) },
    {
      name: 'int64s',
      want: '[9007199254740993 -1]',
      run: () => text(server.send(echoInt64s([9_007_199_254_740_993n, -1]))),
    },
    { name: 'retry', want: '3', run: () => text(server.send(failUntil(`r${key}`, 3), { retries: 3 })) },
    {
      name: 'retry exhausted',
      want: 'error: attempt 2',
      run: () => text(server.send(failUntil(`x${key}`, 9), { retries: 1 })),
    },
    { name: 'retry later', want: '3', run: () => text(server.send(retryLaterUntil(`l${key}`, 3))) },
    {
      name: 'eta',
      want: 'true',
      run: () => {
        const eta = new Date(Date.now() + 1_500);
        return text(server.send(delayTest(), { eta }), (ranAtNs) => {
          const lateMs = Number(ranAtNs - BigInt(eta.getTime()) * 1_000_000n) / 1e6;
          return lateMs < 0 || lateMs > 3_000 ? `ran ${lateMs}ms after its ETA` : 'true';
        });
      },
    },
    {
      name: 'success callback',
      want: '5',
      run: () => callbackText((uuid) => server.send(add(1, 1), { onSuccess: [add.partial(3).with({ uuid })] })),
    },
    {
      name: 'immutable callback',
      want: '3',
      run: () =>
        callbackText((uuid) => server.send(add(1, 1), { immutable: true, onSuccess: [add(3).with({ uuid })] })),
    },
    {
      name: 'error callback',
      want: 'logged Test errortail',
      run: () =>
        callbackText((uuid) =>
          server.send(returnJustError('Test error', true), { onError: [logError.partial('tail').with({ uuid })] }),
        ),
    },
    {
      name: 'chain',
      want: '68',
      run: () => text(server.send(chain(add(1, 1), add.partial(2, 2), add.partial(5, 6), multiply.partial(4)))),
    },
    {
      name: 'group',
      want: '2 4 11',
      run: () => text(server.send(group([add(1, 1), add(2, 2), add(5, 6)])), (sums) => sums.join(' ')),
    },
    {
      name: 'chord',
      want: '88',
      run: () => text(server.send(chord([add(1, 1), add(2, 2), add(5, 6)], multiply.partial()))),
    },
    {
      name: 'chord of 50',
      want: '1275',
      run: () => {
        const members = Array.from({ length: 50 }, (_, i) => add(i + 1));
        return text(server.send(chord(members, add.partial())));
      },
    },
    {
      name: 'chord order',
      want: 'abc',
      run: () => {
        const members = [echoString('a'), echoString('b'), echoString('c')] as const;
        return text(server.send(chord(members, logError.partial())), (logged) => logged.replace(/logged |\|/g, ''));
      },
    },
    {
      name: 'chord immutable callback',
      want: '7',
      run: () => text(server.send(chord([add(1), add(2)], add(7).with({ ignoreResult: true })))),
    },
    {
      name: 'chord member fails',
      want: 'error: member',
      run: () => text(server.send(chord([add(1), returnJustError('member', true)], add.partial()))),
    },
    {
      name: 'wrong type',
      want: 'error: Reflect task args error: x is not int64',
      run: () => text(sendUnchecked(server, 'echo_int64', { type: 'int64', value: 'x' })),
    },
    {
      name: 'unsupported type',
      want: 'error: Reflect task args error: map is not one of supported types',
      run: () => text(sendUnchecked(server, 'echo_int64', { type: 'map', value: 1 })),
    },
  ];
}

/** What the server would refuse to send, and other programs send. */
async function sendUnchecked(server: Server, name: string, arg: Arg): Promise<Gettable<unknown>> {
  const { broker, defaultQueue } = server;
  const uuid = newUuid();
  const routingKey = broker.defaultRoutingKey?.(defaultQueue) ?? defaultQueue;
  const signature = { uuid, name, args: [arg], routingKey };
  const [outcome] = await broker.publish([{ body: encodeSignatureCanonical(signature), routingKey, signature }]);
  if (outcome?.status !== 'stored') throw outcome?.error;
  return server.result(uuid);
}

function newUuid(): string {
  return `task_${randomUUID()}`;
}

/** A result as Go's %v prints it. */
function goText(value: unknown): string {
  if (value === undefined) return '()';
  if (Array.isArray(value) || value instanceof Uint8Array) return `[${Array.from(value, goText).join(' ')}]`;
  return String(value);
}
