// The sender's side: sends tasks and prints what comes back.

import { type Server, TaskFailedError } from '@machinery/core';
import { add, concat, multiply, panicTask, split, sumFloats, sumInts } from './tasks.ts';

const timeoutMs = 10_000;

export async function sendAll(server: Server, print: (line: string) => void): Promise<void> {
  print('Single tasks:');
  for (const [a, b] of [
    [1, 1],
    [2, 2],
    [5, 6],
  ] as const) {
    const result = await server.send(add(a, b));
    print(`${a} + ${b} = ${await result.get({ timeoutMs })}`);
  }
  const product = await server.send(multiply(3, 7));
  print(`3 * 7 = ${await product.get({ timeoutMs })}`);

  print('A task with an ETA:');
  const sentAt = Date.now();
  const later = await server.send(add(1, 1), { eta: new Date(sentAt + 500) });
  print(`1 + 1 = ${await later.get({ timeoutMs })}, not before its time: ${Date.now() - sentAt >= 500}`);

  print('Slices:');
  const ints = await server.send(sumInts([1, 2, 3, 4]));
  print(`sum_ints([1, 2, 3, 4]) = ${await ints.get({ timeoutMs })}`);
  const floats = await server.send(sumFloats([1.5, 2.25]));
  print(`sum_floats([1.5, 2.25]) = ${await floats.get({ timeoutMs })}`);
  const whole = await server.send(concat(['foo', 'bar']));
  print(`concat(["foo", "bar"]) = ${await whole.get({ timeoutMs })}`);
  const parts = await server.send(split('foo'));
  print(`split("foo") = ${JSON.stringify(await parts.get({ timeoutMs }))}`);

  print('A task that throws:');
  const panicking = await server.send(panicTask());
  try {
    await panicking.get({ timeoutMs });
  } catch (error) {
    if (!(error instanceof TaskFailedError)) throw error;
    print(`${error.taskName} failed: ${error.error}`);
  }
}
