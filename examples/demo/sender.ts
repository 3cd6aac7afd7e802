// The sender's side: sends tasks and prints what comes back.

import { chain, chord, type GetOptions, group, type Server, TaskFailedError } from '@machinery/core';
import { add, concat, longRunningTask, multiply, panicTask, split, sumFloats, sumInts } from './tasks.ts';

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
  const ints = await server.send(sumInts([1, 2]));
  print(`sum_ints([1, 2]) = ${await ints.get({ timeoutMs })}`);
  const floats = await server.send(sumFloats([1.5, 2.7]));
  print(`sum_floats([1.5, 2.7]) = ${await floats.get({ timeoutMs })}`);
  const whole = await server.send(concat(['foo', 'bar']));
  print(`concat(["foo", "bar"]) = ${await whole.get({ timeoutMs })}`);
  const parts = await server.send(split('foo'));
  print(`split("foo") = ${JSON.stringify(await parts.get({ timeoutMs }))}`);

  print('Group of tasks (parallel execution):');
  const sums = await server.send(group([add(1, 1), add(2, 2), add(5, 6)]), { sendConcurrency: 10 });
  const [one, two, three] = await sums.get({ timeoutMs });
  print(`1 + 1 = ${one}`);
  print(`2 + 2 = ${two}`);
  print(`5 + 6 = ${three}`);

  print('Group of tasks with a callback (chord):');
  const productOfSums = await server.send(chord([add(1, 1), add(2, 2), add(5, 6)], multiply.partial()));
  print(`(1 + 1) * (2 + 2) * (5 + 6) = ${await productOfSums.get({ timeoutMs })}`);
  const { done, total } = await productOfSums.progress();
  print(`${done} of ${total} tasks are done`);

  print('Chain of tasks:');
  const sumsTimesFour = await server.send(chain(add(1, 1), add.partial(2, 2), add.partial(5, 6), multiply.partial(4)));
  print(`(((1 + 1) + (2 + 2)) + (5 + 6)) * 4 = ${await sumsTimesFour.get({ timeoutMs })}`);
  const twelveTimesFour = await server.send(chain(add(5, 6), add.partial(1), multiply.partial(4)));
  print(`((5 + 6) + 1) * 4 = ${await twelveTimesFour.get({ timeoutMs })}`);
  const nested = await server.send(
    chain(add(1, 1), chord([add.partial(2), multiply.partial(10)], add.partial()), multiply.partial(2)),
  );
  print(`(((1 + 1) + 2) + ((1 + 1) * 10)) * 2 = ${await nested.get({ timeoutMs })}`);
  const ignoring = await server.send(chain(add(1, 1), add(5, 6).with({ ignoreResult: true }), multiply.partial(4)));
  print(`(5 + 6) * 4 = ${await ignoring.get({ timeoutMs })}, whatever 1 + 1 is`);

  print('A chord of which a member throws:');
  const incomplete = await server.send(chord([split('foo'), panicTask()], { name: 'concat' }));
  print(await failureOf(incomplete));

  print('A task that throws:');
  print(await failureOf(await server.send(panicTask())));

  print('A task that takes a while:');
  const long = await server.send(longRunningTask());
  print(`long_running_task returned ${await long.get({ timeoutMs: 30_000 })}`);
}

async function failureOf(result: { get(options: GetOptions): Promise<unknown> }): Promise<string> {
  try {
    return `${await result.get({ timeoutMs })}`;
  } catch (error) {
    if (!(error instanceof TaskFailedError)) throw error;
    return `${error.taskName} failed: ${error.error}`;
  }
}
