// The batcher: single calls become batches, in order, one batch at a time unless they may overlap.

import { describe, expect, it } from 'vitest';
import { Batcher } from '../../src/batcher.ts';
import { type Gate, gate, nextTurn, thrownBy } from './setup.ts';

/** A batcher that notes its batches, and whose batches end when they are told to. */
function held(options?: ConstructorParameters<typeof Batcher<number, string>>[1]) {
  const batches: number[][] = [];
  const gates: Gate[] = [];
  const batcher = new Batcher<number, string>(async (items) => {
    batches.push([...items]);
    const end = gate();
    gates.push(end);
    await end.opened;
    return items.map((item) => `r${item}`);
  }, options);
  /** Ends the n-th batch, and waits until what waited for it has gone on. */
  const end = async (n: number) => {
    gates[n]?.open();
    await nextTurn();
  };
  const add = (...items: number[]) => Promise.all(items.map((item) => batcher.add(item)));
  return { batcher, batches, end, add };
}

describe('a batcher', () => {
  it('joins what is added in one tick, in order, and answers each its own', async () => {
    const { add, batches, end } = held();
    const added = add(1, 2, 3);
    await nextTurn();
    await end(0);
    expect(await added).toEqual(['r1', 'r2', 'r3']);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  it('runs one batch at a time: what comes meanwhile goes with the next', async () => {
    const { add, batches, end } = held();
    const first = add(1);
    await nextTurn();
    const second = Promise.all([add(2), nextTurn().then(() => add(3))]);
    await nextTurn();
    expect(batches).toEqual([[1]]);
    await end(0);
    expect(await first).toEqual(['r1']);
    expect(batches).toEqual([[1], [2, 3]]);
    await end(1);
    expect(await second).toEqual([['r2'], ['r3']]);
  });

  it('does not wait for more when there is something to do', async () => {
    const { add, batches } = held();
    void add(1);
    await Promise.resolve();
    expect(batches).toEqual([[1]]);
  });

  it('lets what waited for a batch add to the next', async () => {
    const { batcher, batches, end, add } = held();
    const chained = add(1).then(() => add(10));
    const alone = nextTurn().then(() => batcher.add(2));
    await nextTurn();
    await nextTurn();
    await end(0);
    expect(batches).toEqual([[1], [2, 10]]);
    await end(1);
    expect(await Promise.all([chained, alone])).toEqual([['r10'], 'r2']);
  });

  it('makes no batch larger than maxItems, and keeps the order', async () => {
    const batches: number[][] = [];
    const batcher = new Batcher<number, number>(
      async (items) => {
        batches.push([...items]);
        return items;
      },
      { maxItems: 3 },
    );
    const items = [...Array(8).keys()];
    expect(await Promise.all(items.map((item) => batcher.add(item)))).toEqual(items);
    expect(batches).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7],
    ]);
  });

  it('makes batches of 1,000 at most when nothing is said', async () => {
    const sizes: number[] = [];
    const batcher = new Batcher<number, number>(async (items) => {
      sizes.push(items.length);
      return items;
    });
    await Promise.all(Array.from({ length: 2_500 }, (_, i) => batcher.add(i)));
    expect(sizes).toEqual([1_000, 1_000, 500]);
  });

  it('runs each item by itself and at once when it is unbatched', async () => {
    const { add, batches, end } = held({ unbatched: true });
    const [first, second] = [add(1), add(2)];
    expect(batches).toEqual([[1], [2]]);
    await end(1);
    expect(await second).toEqual(['r2']);
    await end(0);
    expect(await first).toEqual(['r1']);
  });

  it('begins a batch that overlaps the others as soon as there is much to do', async () => {
    const { batcher, batches, end, add } = held({ overlapAt: 2 });
    const all = add(1, 2, 3, 4, 5);
    expect(batches).toEqual([
      [1, 2],
      [3, 4],
    ]);
    await nextTurn();
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
    void add(6);
    await nextTurn();
    expect(batches).toHaveLength(3); // few wait for their turn
    let isSettled = false;
    const settled = batcher.settled().then(() => {
      isSettled = true;
    });
    for (const n of [2, 3, 0]) await end(n);
    expect(isSettled).toBe(false);
    await end(1);
    await settled;
    expect(await all).toEqual(['r1', 'r2', 'r3', 'r4', 'r5']);
    expect(batches).toEqual([[1, 2], [3, 4], [5], [6]]);
  });

  it('makes no overlapping batch larger than maxItems', async () => {
    const { add, batches } = held({ overlapAt: 4, maxItems: 2 });
    void add(1, 2, 3, 4, 5);
    await nextTurn();
    expect(batches).toEqual([[1, 2], [3, 4], [5]]);
  });

  it('never overlaps when nothing is said', async () => {
    const { add, batches, end } = held({ maxItems: 2 });
    void add(1, 2, 3);
    await nextTurn();
    expect(batches).toEqual([[1, 2]]);
    await end(0);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  it('rejects every item of a batch that fails, and goes on with the next', async () => {
    const broken = new Error('broken');
    let fail = true;
    const batcher = new Batcher<number, number>(async (items) => {
      if (fail) throw broken;
      return items;
    });
    const both = await Promise.allSettled([batcher.add(1), batcher.add(2)]);
    expect(both.map((one) => (one as PromiseRejectedResult).reason)).toEqual([broken, broken]);
    fail = false;
    expect(await batcher.add(3)).toBe(3);
  });

  it('survives a run that throws instead of rejecting', async () => {
    let fail = true;
    const batcher = new Batcher<number, number>((items) => {
      if (fail) throw new Error('at once');
      return Promise.resolve(items);
    });
    await expect(batcher.add(1)).rejects.toThrow('at once');
    fail = false;
    expect(await batcher.add(2)).toBe(2);
  });

  it.each([
    ['too few', []],
    ['too many', [1, 2, 3]],
  ])('rejects every item when there are %s answers', async (_, answers) => {
    const batcher = new Batcher<number, number>(async () => answers);
    const both = await Promise.allSettled([batcher.add(1), batcher.add(2)]);
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect((both[0] as PromiseRejectedResult).reason.message).toMatch(
      new RegExp(`answered ${answers.length} results for a batch of 2$`),
    );
  });

  it.each([undefined, null, {}])('rejects every item when the answer is %o, which is no list', async (answer) => {
    const batcher = new Batcher<number, number>(async () => answer as never);
    expect(await thrownBy(() => batcher.add(1))).toBeInstanceOf(Error);
  });

  it('rejects when an unbatched run answers nothing', async () => {
    const batcher = new Batcher<number, number>(async () => [], { unbatched: true, faultOf: 'broker' });
    expect(await thrownBy(() => batcher.add(1))).toMatchObject({ code: 'ERR_MACHINERY_BROKER_FAILED' });
  });

  it('is settled when nothing waits or is under way', async () => {
    const { batcher, add, end } = held();
    await batcher.settled();
    void add(1);
    let settled = false;
    const settling = batcher.settled().then(() => {
      settled = true;
    });
    await nextTurn();
    expect(settled).toBe(false);
    await end(0);
    await settling;
  });

  it('is settled only after unbatched runs have ended too', async () => {
    const { batcher, add, end } = held({ unbatched: true });
    void add(1);
    let settled = false;
    const settling = batcher.settled().then(() => {
      settled = true;
    });
    await nextTurn();
    expect(settled).toBe(false);
    await end(0);
    await settling;
  });
});
