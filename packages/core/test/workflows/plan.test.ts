// What a workflow becomes: the signatures that Go would make of it, and what is refused because Go's format cannot say it.

import { describe, expect, it } from 'vitest';
import { planOf } from '../../src/plan.ts';
import type { Signature } from '../../src/signature.ts';
import { defineTask } from '../../src/task.ts';
import { int64, rest } from '../../src/task-types.ts';
import { encodeSignature, encodeSignatureCanonical } from '../../src/wire/signature-codec.ts';
import { type AnyWorkflow, chain, chord, group, type Workflow } from '../../src/workflow.ts';
import { readVectors } from '../wire/vectors.ts';

const add = defineTask('add', { args: rest(int64), returns: int64 });
const named = (name: string): Signature & { definition?: never } => ({ name });

/** A signature and what follows it, short: `a > b` for OnSuccess, `a(g > b)` for the member of a group with a callback. */
function shape(signature: Signature): string {
  const { name, immutable, groupUuid, groupTaskCount, chordCallback, onSuccess = [] } = signature;
  const callback = chordCallback === undefined ? '' : ` => ${shape(chordCallback)}`;
  const member = groupUuid === undefined ? '' : `[${groupTaskCount}${callback}]`;
  const next = onSuccess.length === 0 ? '' : ` > ${onSuccess.map(shape).join(' + ')}`;
  return `${name}${immutable ? '!' : ''}${member}${next}`;
}
const shapes = (workflow: Workflow) => planOf(workflow).entries.map(shape);
const refusal = (workflow: () => AnyWorkflow) => {
  try {
    planOf(workflow());
  } catch (error) {
    return error;
  }
  return undefined;
};
const ignoring = (name: string) => defineTask(name)().with({ ignoreResult: true });

describe('a workflow becomes', () => {
  it('for a chain, each step in OnSuccess of the one before', () => {
    expect(shapes(chain(named('a'), named('b'), named('c')))).toEqual(['a > b > c']);
  });

  it('for a group, tasks with its UUID and size', () => {
    const { entries, groups } = planOf(group([named('a'), named('b')]));
    expect(entries.map(shape)).toEqual(['a[2]', 'b[2]']);
    expect(entries[0]?.groupUuid).toMatch(/^group_[0-9a-f-]{36}$/);
    expect(entries[1]?.groupUuid).toBe(entries[0]?.groupUuid);
    expect(groups).toMatchObject([{ groupUuid: entries[0]?.groupUuid, members: [{ name: 'a' }, { name: 'b' }] }]);
  });

  it('for a chord, members that carry one and the same callback', () => {
    const { entries, groups } = planOf(chord([named('a'), named('b')], named('c')));
    expect(entries.map(shape)).toEqual(['a[2 => c]', 'b[2 => c]']);
    expect(entries[0]?.chordCallback?.uuid).toMatch(/^chord_[0-9a-f-]{36}$/);
    expect(entries[1]?.chordCallback).toBe(entries[0]?.chordCallback);
    expect(groups).toHaveLength(1);
  });

  it.each<[string, Workflow, string[]]>([
    [
      'a chord in the middle of a chain',
      chain(named('a'), chord([named('b'), named('c')], named('d')), named('e')),
      ['a > b[2 => d > e] + c[2 => d > e]'],
    ],
    [
      'a chain in a group: its last task is the member',
      group([chain(named('a'), named('b')), named('c')]),
      ['a > b[2]', 'c[2]'],
    ],
    [
      'a chord in a chord: its callback is the member',
      chord([chord([named('a')], named('b')), named('c')], named('d')),
      ['a[1 => b[2 => d]]', 'c[2 => d]'],
    ],
    ['a callback that starts a chain', chord([named('a')], chain(named('b'), named('c'))), ['a[1 => b > c]']],
    ['a group at the end of a chain', chain(named('a'), group([named('b'), named('c')])), ['a > b[2] + c[2]']],
    ['a chain in a chain', chain(named('a'), chain(named('b'), named('c')), named('d')), ['a > b > c > d']],
    ['an empty group', group([]), []],
    ['an empty chord', chord([], named('a')), ['a']],
    [
      'an empty chord in a chain: its callback has no results to take',
      chain(named('a'), chord([], named('b')), named('c')),
      ['a! > b > c'],
    ],
    ['a step that ignores the result', chain(named('a'), ignoring('b'), named('c')), ['a! > b > c']],
    ['a callback that ignores the results', chord([named('a')], ignoring('b')), ['a[1 => b!]']],
    [
      'a callback that ignores the results, as does what follows it',
      chord([named('a')], chain(ignoring('b'), ignoring('c'))),
      ['a[1 => b! > c]'],
    ],
    ['a step with callbacks of its own', chain({ name: 'a', onSuccess: [named('x')] }, named('b')), ['a > x + b']],
  ])('%s', (_, workflow, expected) => {
    expect(shapes(workflow)).toEqual(expected);
  });

  it('all groups, those that begin later too, with the task that ends each member', () => {
    const inner = chord([named('b'), chain(named('c'), named('d'))], named('e'));
    const { groups, hasChords } = planOf(chain(named('a'), chord([inner, named('f')], named('g'))));
    expect(groups.map(({ members }) => members.map(({ name }) => name))).toEqual([
      ['e', 'f'],
      ['b', 'd'],
    ]);
    expect(hasChords).toBe(true);
    expect(planOf(chain(named('a'), group([named('b')]))).hasChords).toBe(false);
  });

  it('with a UUID for every task, new ones each time it is sent', () => {
    const workflow = chord([add(1), chain(add(2), add.partial(3))], add.partial());
    const uuids = () => encodeSignature(planOf(workflow).entries[1] as Signature).match(/"UUID":"[^"]+"/g) as string[];
    const [first, second] = [uuids(), uuids()];
    expect(first).toHaveLength(3);
    expect(new Set([...first, ...second])).toHaveLength(6);
  });

  it('keeps UUIDs that were given', () => {
    const { entries } = planOf(chord([{ name: 'a', uuid: 'my-a' }], { name: 'b', uuid: 'my-b' }));
    expect(entries[0]).toMatchObject({ uuid: 'my-a', chordCallback: { uuid: 'my-b' } });
  });
});

it('names the callbacks of callbacks once for all members', () => {
  const callback = { ...named('c'), onError: [named('e')], onSuccess: [named('s')] };
  const [a, b] = planOf(chord([named('a'), named('b')], callback)).entries;
  expect(a?.chordCallback).toBe(b?.chordCallback);
  expect(a?.chordCallback?.onError?.[0]?.uuid).toMatch(/^task_/);
});

describe('byte for byte what Go makes', () => {
  const vectors = readVectors<Record<'chain' | 'chordMember', string>>('signatures');
  const int = (value: number) => [{ type: 'int64', value }];

  it('of a chain', () => {
    const workflow = chain(
      { uuid: 'task_5', name: 'add', args: int(1) },
      { uuid: 'task_6', name: 'multiply', args: int(4) },
      { uuid: 'task_7', name: 'add' },
    );
    expect(encodeSignatureCanonical(planOf(workflow).entries[0] as Signature)).toBe(vectors.chain);
  });

  it('of the member of a chord', () => {
    const workflow = chord([{ name: 'add', uuid: 'task_9' }, { name: 'add' }], { name: 'multiply', uuid: 'chord_1' });
    const [member] = planOf(workflow).entries as [Signature];
    expect(encodeSignatureCanonical({ ...member, groupUuid: 'group_1' })).toBe(vectors.chordMember);
  });
});

describe('a workflow is refused', () => {
  it.each<[string, () => AnyWorkflow, RegExp]>([
    [
      'an empty chain',
      () => chain(...([] as unknown as [Signature & { definition?: never }])) as Workflow,
      /A chain needs at least one task/,
    ],
    [
      'a task that was not called',
      () => chain(add as never),
      /chain: expected number 1 to be a signature, got .* call the task to get one/,
    ],
    [
      'a member that is none',
      () => group([named('a'), undefined as never]),
      /group: expected number 2 to be a signature, got `undefined`/,
    ],
    ['no list', () => group(named('a') as never), /group: expected an array of signatures, got/],
    [
      'a callback that is none',
      () => chord([named('a')], undefined as never),
      /chord: expected the callback to be a signature/,
    ],
    [
      'a group in a group',
      () => group([group([named('a')]) as never]),
      /group: number 1 is a group or ends in one, which cannot be a member/,
    ],
    [
      'a group as the end of a member',
      () => group([chain(named('a'), group([named('b')]))]),
      /group: number 1 is a group or ends in one, which cannot be a member/,
    ],
    [
      'something after a group',
      () => chain(group([named('a')]), named('b')),
      /chain: number 1 is a group or ends in one, and nothing can follow that: make it a chord/,
    ],
    [
      'a chord as a callback',
      () => chord([named('a')], chord([named('b')], named('c')) as never),
      /chord: the callback is a chord/,
    ],
    [
      'a callback that begins with a chord',
      () => chord([named('a')], chain(chord([named('b')], named('c')), named('d'))),
      /A chord calls back one task, or a chain that begins with one/,
    ],
    [
      'a delay of a later step',
      () => chain(named('a'), add(1).with({ delayMs: 5, ignoreResult: true })),
      /Task add .*`delayMs` is not for callbacks/,
    ],
    [
      'a delay of a callback',
      () => chord([named('a')], add(1).with({ delayMs: 5 })),
      /Task add .*`delayMs` is not for callbacks/,
    ],
    [
      'callbacks that do not agree on the result',
      () => chain({ name: 'a', onSuccess: [named('x')] }, ignoring('b')),
      /Task a: of what follows it, b ignores its result and x takes it/,
    ],
    [
      'a callback that would withhold its own result',
      () => chord([named('a')], chain(ignoring('b'), named('c'))),
      /Task b ignores the results of its group, which .* withholds its own result from c/,
    ],
    [
      'a member of another group',
      () => group([{ name: 'a', groupUuid: 'g' }]),
      /Task a has a group or a chord of its own/,
    ],
    [
      'a UUID that two tasks have',
      () =>
        group([
          { name: 'a', uuid: 'u' },
          { name: 'b', uuid: 'u' },
        ]),
      /Task b has the UUID u, and so has another task/,
    ],
    [
      'a wrong signature',
      () => chain({ name: 'a', retryCount: -1 }),
      /Task a: expected `retryCount` to be an integer >= 0/,
    ],
  ])('%s', (_, workflow, text) => {
    expect(refusal(workflow)).toMatchObject({
      code: 'ERR_MACHINERY_INVALID_SIGNATURE',
      message: expect.stringMatching(text),
    });
  });

  it('that a callback of a chord is to pass its result on to one that ignores it, and take those of the group itself', () => {
    expect(refusal(() => chord([named('a')], chain(named('b'), ignoring('c'))))).toMatchObject({
      message: expect.stringMatching(
        /Task c ignores the result of b, which .* withholds the results of the group from b/,
      ),
    });
    const immutable = { ...named('b'), immutable: true }; // in Go's own words
    expect(shapes(chord([named('a')], chain(immutable, ignoring('c'))))).toEqual(['a[1 => b! > c]']);
  });

  it('that its own callbacks ignore a result which the next step takes', () => {
    const first = { ...named('a'), onSuccess: [ignoring('x')] };
    expect(refusal(() => chain(first, named('b')))).toMatchObject({
      message: expect.stringMatching(/Task a: of what follows it, x ignores its result and b takes it/),
    });
    expect(shapes(chain(first, ignoring('b')))).toEqual(['a! > x + b']);
  });

  it('for chords that follow each other and would multiply beyond measure', () => {
    const members = Array.from({ length: 100 }, () => named('a'));
    const step = () => chord(members, named('b'));
    expect(refusal(() => chain(step(), step(), step(), step()))).toMatchObject({
      code: 'ERR_MACHINERY_MESSAGE_TOO_LARGE',
      message: expect.stringMatching(/more than 1000000 signatures/),
    });
  });

  it('for a chord in place of its members', () => {
    expect(refusal(() => chord(chord([named('a')], named('b')) as never, named('c')))).toMatchObject({
      message: expect.stringMatching(/chord: expected an array of signatures, got/),
    });
  });

  it('for an argument of the wrong type', () => {
    expect(refusal(() => group([{ name: 'a', args: [{ type: 'int8', value: 300 }] }]))).toMatchObject({
      code: 'ERR_MACHINERY_INVALID_ARGUMENT',
    });
  });
});
