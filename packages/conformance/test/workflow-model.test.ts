// The model that random workflows are compared with, on workflows whose outcome is plain; and what the generator draws.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { workflows } from '../src/workflows/arbitrary.ts';
import { agreeing } from '../src/workflows/graph.ts';
import { expectedOf } from '../src/workflows/model.ts';
import { allTasksOf, chainOf, chordOf, codeOf, groupOf, labelled, task, tasksOf } from '../src/workflows/sketch.ts';

const fails = { does: 'fail' } as const;
const ignores = { ignoreResult: true } as const;

/** What a task is called with: every list that it may be. */
const argsOf = (expected: ReturnType<typeof expectedOf>, label: string) => expected.runs.get(label)?.argLists;
const ran = (expected: ReturnType<typeof expectedOf>) => [...expected.runs.keys()].toSorted().join('');

describe('the model of workflows', () => {
  it('passes results along chains, and to success callbacks', () => {
    const expected = expectedOf(chainOf(task('a', { onSuccess: [task('x')] }), task('b'), task('c')));
    expect(expected.outcome).toEqual({ kind: 'value', value: 'c(b(a()))' });
    expect(argsOf(expected, 'x')).toEqual([['x', 'a()']]);
    expect(argsOf(expected, 'c')).toEqual([['c', 'b(a())']]);
  });

  it('passes the results of members to the callback, in the order of the group', () => {
    const inner = chordOf([task('c'), task('d')], task('e'));
    const expected = expectedOf(chainOf(task('a'), chordOf([task('b'), inner], chainOf(task('f'), task('g')))));
    expect(expected.outcome).toEqual({ kind: 'value', value: 'g(f(b(a()),e(c(a()),d(a()))))' });
  });

  it('passes nothing on to what ignores it, nor from what is immutable', () => {
    expect(expectedOf(chainOf(task('a'), task('b', ignores), task('c'))).outcome).toEqual({
      kind: 'value',
      value: 'c(b())',
    });
    expect(expectedOf(chainOf(task('a', { immutable: true }), task('b'))).outcome).toEqual({
      kind: 'value',
      value: 'b()',
    });
    expect(expectedOf(chordOf([task('a')], task('b', ignores))).outcome).toEqual({ kind: 'value', value: 'b()' });
  });

  it('gives lists for groups, and calls back for empty chords', () => {
    expect(expectedOf(groupOf(task('a'), chainOf(task('b'), task('c')))).outcome).toEqual({
      kind: 'value',
      value: ['a()', 'c(b())'],
    });
    expect(expectedOf(groupOf()).outcome).toEqual({ kind: 'value', value: [] });
    expect(expectedOf(chainOf(task('a'), chordOf([], task('b')))).outcome).toEqual({ kind: 'value', value: 'b()' });
  });

  it('runs a task twice that fails once', () => {
    const expected = expectedOf(chainOf(task('a', { does: 'fail once' }), task('b')));
    expect(expected.runs.get('a')?.times).toBe(2);
    expect(expected.outcome).toEqual({ kind: 'value', value: 'b(a())' });
  });

  it('ends a chain where it fails, and tells the error callbacks of that task only', () => {
    const [one, two] = [task('a', { ...fails, onError: [task('x')] }), task('b', { onError: [task('y')] })];
    const expected = expectedOf(chainOf(one, two));
    expect(expected.outcome).toEqual({ kind: 'failure', labels: ['a'] });
    expect(ran(expected)).toBe('ax');
    expect(argsOf(expected, 'x')).toEqual([['a failed', 'x']]);
  });

  it('fails the callback of a chord with any of the members that failed', () => {
    const members = [task('a', fails), task('b'), chainOf(task('c', fails), task('d'))];
    const expected = expectedOf(chordOf(members, task('z', { onError: [task('y')] })));
    expect(expected.outcome).toEqual({ kind: 'failure', labels: ['a', 'c'] });
    expect(ran(expected)).toBe('abcy');
    expect(expected.failures.get('d')).toEqual(['Task step (c) before it failed: c failed']);
    expect(argsOf(expected, 'y')).toEqual([
      ['Task step (a) failed: a failed', 'y'],
      ['Task step (c) failed: c failed', 'y'],
      ['Task step (d) failed: Task step (c) before it failed: c failed', 'y'],
    ]);
  });

  it('fails all chords that come after a task that failed', () => {
    const last = chordOf([task('d')], task('e', { onError: [task('y')] }));
    const expected = expectedOf(
      chainOf(task('a', fails), chordOf([task('b')], task('c', { onError: [task('x')] })), last),
    );
    expect(ran(expected)).toBe('axy');
    expect(argsOf(expected, 'x')?.[0]).toEqual(['Task step (a) failed: a failed', 'x']);
    expect(argsOf(expected, 'y')?.[0]).toEqual(['Task step (c) failed: Task step (a) failed: a failed', 'y']);
  });
});

describe('the generator of workflows', () => {
  it('gives each task a label of its own, and prints as code', () => {
    const sketch = labelled(
      chainOf(task('', { ...fails, onError: [task('')] }), chordOf([task('', ignores)], task('', { turns: 2 }))),
    );
    expect(codeOf(sketch)).toBe('chain(a.fails.onError(b), chord([c.ignoreResult], d.turns(2)))');
    expect(tasksOf(sketch).map(({ label }) => label)).toEqual(['a', 'c', 'd']);
  });

  it('makes all that follow a task ignore its results when one does', () => {
    const sketch = chainOf(task('a', { onSuccess: [task('x')] }), groupOf(task('b', ignores), task('c')));
    expect(codeOf(agreeing(sketch))).toBe(
      'chain(a.onSuccess(x.ignoreResult), group([b.ignoreResult, c.ignoreResult]))',
    );
    expect(codeOf(agreeing(chordOf([task('a')], chainOf(task('b', ignores), task('c')))))).toBe(
      'chord([a], chain(b.ignoreResult, c.ignoreResult))',
    );
  });

  it('draws every composition, failures at every place, and workflows of every size', () => {
    const drawn = fc.sample(workflows(), { numRuns: 1_000, seed: 1 }).map(({ sketch }) => sketch);
    const codes = drawn.map(codeOf);
    for (const part of [
      'chain(',
      'group([',
      'chord([',
      '.fails',
      '.failsOnce',
      '.ignoreResult',
      '.immutable',
      '.onSuccess(',
      '.onError(',
      'chord([], ',
      'group([])',
      'chord([chord([',
      'chord([chain(',
      '], chain(',
    ])
      expect(
        codes.some((code) => code.includes(part)),
        part,
      ).toBe(true);
    const outcomes = drawn.map((sketch) => expectedOf(sketch).outcome.kind);
    for (const kind of ['value', 'failure']) expect(outcomes.filter((one) => one === kind).length).toBeGreaterThan(100);
    expect(drawn.filter((sketch) => allTasksOf(sketch).length > 10).length).toBeGreaterThan(100);
    expect(
      codes.some((code) => code.includes('chord(')),
      'chords',
    ).toBe(true);
    const without = fc.sample(workflows({ chords: false }), { numRuns: 300, seed: 1 });
    expect(without.some(({ sketch }) => codeOf(sketch).includes('chord('))).toBe(false);
  });
});
