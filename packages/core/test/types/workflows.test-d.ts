// What the compiler knows of workflows: what each step takes and gives, what is complete, and what `get` answers.

import { expectTypeOf } from 'vitest';
import type { AsyncResult } from '../../src/async-result.ts';
import { type CompleteSignature, defineTask } from '../../src/task.ts';
import { int64, rest, string } from '../../src/task-types.ts';
import { type Chain, chain, chord, group, type Workflow } from '../../src/workflow.ts';
import type { ChainResult, ChordResult, GroupResult, WorkflowResult } from '../../src/workflow-result.ts';
import { server } from './tasks.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const label = defineTask('label', { args: [string, int64], returns: string });
const shout = defineTask('shout', { args: [string], returns: string });
const both = defineTask('both', { args: [int64], returns: [int64, string] });
const takesBoth = defineTask('takes_both', { args: [int64, string], returns: string });
const nothing = defineTask('nothing');

// A chain gives what its last step returns.
expectTypeOf(server.send(chain(add(1, 1), label.partial('x'), shout.partial()))).resolves.toEqualTypeOf<
  ChainResult<string>
>();
expectTypeOf(server.sendChain(chain(add(1), both.partial()))).resolves.toEqualTypeOf<ChainResult<[number, string]>>();

// Each step of a chain takes what the one before gives.
chain(add(1), both.partial(), takesBoth.partial());
chain(add(1, 1), chain(label.partial('x'), shout.partial()), shout.partial());
// @ts-expect-error an int64 is no string
chain(add(1), shout.partial());
// @ts-expect-error it takes nothing
chain(add(1), nothing());
// @ts-expect-error one argument too many
chain(add(1), label('x', 1));
// @ts-expect-error the step in the middle
chain(add(1), shout.partial(), shout.partial());
// @ts-expect-error empty
chain();

// A step that ignores the result takes anything.
chain(add(1), nothing().with({ ignoreResult: true }), nothing());
chain(add(1), label('x', 1).with({ ignoreResult: true, retries: 2 }), shout.partial());
// @ts-expect-error it would get no argument
server.send(chain(label.partial('x')));

// A group gives a tuple.
const members = group([add(1, 1), shout('x'), chain(add(1), label.partial('q'))]);
expectTypeOf(server.send(members)).resolves.toEqualTypeOf<GroupResult<[number, string, string]>>();
expectTypeOf(server.sendGroup(group([1, 2].map((n) => add(n))))).resolves.toEqualTypeOf<GroupResult<number[]>>();

// A callback takes the results of all members.
expectTypeOf(server.send(chord([add(1, 1), add(2, 2)], add.partial()))).resolves.toEqualTypeOf<ChordResult<number>>();
expectTypeOf(server.sendChord(chord([add(1)], chain(label.partial('a'), shout.partial())))).resolves.toEqualTypeOf<
  ChordResult<string>
>();
chord([add(1), shout('x')], takesBoth.partial());
chord(
  [1, 2].map((n) => add(n)),
  add.partial(),
);
chord(group([add(1), add(2)]), add.partial());
// @ts-expect-error one of them is a string
chord([add(1), shout('x')], add.partial());
// @ts-expect-error all of them are strings
chord([shout('x')].concat(), add.partial());
// @ts-expect-error strings of a group
chord(group([shout('x')]), add.partial());
// @ts-expect-error a chain that begins with the wrong task
chord([add(1)], chain(shout.partial()));

// Workflows nest.
const sums = chord([add.partial(1), chain(add.partial(2), add.partial(10))], add.partial());
expectTypeOf(server.send(chain(add(1), sums, label.partial('r')))).resolves.toEqualTypeOf<ChainResult<string>>();
chain(add(1), group([label.partial('a'), label.partial('b')]));
// @ts-expect-error what stands in the middle must take an int64
chain(add(1), chord([shout.partial()], shout.partial()));
// @ts-expect-error a group is no member
group([group([add(1)])]);

// What is not complete cannot be sent.
// @ts-expect-error label lacks a number
server.send(chain(label.partial('x'), shout.partial()));
// @ts-expect-error label lacks a number
server.send(group([add(1), label.partial('x')]));
// @ts-expect-error label lacks a number
server.send(chord([label.partial('x')], shout.partial()));
// @ts-expect-error no option of a workflow
server.send(chain(add(1)), { delayMs: 5 });

// Plain signatures pass anywhere.
expectTypeOf(server.send(chain({ name: 'x' }, shout.partial(), { name: 'y' }))).resolves.toEqualTypeOf<
  ChainResult<unknown>
>();
chord([{ name: 'a' }, { name: 'b' }], shout.partial());
expectTypeOf(server.send({ name: 'x' })).resolves.toEqualTypeOf<AsyncResult>();

// A chain is often made of an array.
chain(add(1), ...[1, 2].map((n) => add.partial(n)));
chain(...[1, 2].map((n) => add(n)));
expectTypeOf(server.send(chain(...[1, 2].map((n) => add(n))))).resolves.toEqualTypeOf<ChainResult<number>>();

// A workflow can be kept, chosen and passed on.
const kept = { workflow: chain(add(1), add.partial(2)) as Workflow<number> };
expectTypeOf(server.send(kept.workflow)).resolves.toEqualTypeOf<WorkflowResult<number>>();
expectTypeOf(server.send(Math.random() > 0.5 ? chain(add(1)) : chord([add(1)], add.partial()))).resolves.toEqualTypeOf<
  WorkflowResult<number>
>();
const anyChain: Chain = chain(add(1), shout('x').with({ ignoreResult: true }));
void server.send(anyChain);
const mixed: CompleteSignature[] = [add(1), shout('x')];
void server.send(group(mixed));
