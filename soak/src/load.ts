// What is sent, and what must come of it: single tasks, delayed and retried ones, chains, chords, chains around a chord.

import { seededRandom } from '@machinery/conformance';
import { chain, chord, type Server } from '@machinery/core';
import { join, joined, retried } from './tasks.ts';

/** What is awaited of something that was sent. */
export interface Awaited {
  get(options: { timeoutMs: number }): Promise<unknown>;
  readonly uuids: readonly string[];
}

/** Something to send. */
export interface Piece {
  /** What each of its tasks must return, in the order of the UUIDs; the last is the result of the whole. */
  readonly values: readonly string[];
  /** How often each of them fails before. */
  readonly failures: number;
  send(server: Server): Promise<Awaited>;
}

/** Pieces of so many tasks altogether; the same for the same seed. */
export function* pieces(seed: number, tasks: number): Generator<Piece> {
  const random = seededRandom(seed);
  const between = (least: number, most: number) => least + Math.floor(random() * (most - least + 1));
  for (let [id, left] = [0, tasks]; left > 0; id++) {
    const kind = random();
    let piece: Piece;
    if (left < 12 || kind < 0.62) piece = single(id);
    else if (kind < 0.67) piece = single(id, between(1, 2_000));
    else if (kind < 0.7) piece = retriedOne(id);
    else if (kind < 0.85) piece = chained(id, between(2, 5));
    else if (kind < 0.97) piece = chorded(id, between(2, 10));
    else piece = chainedChord(id, between(2, 5));
    left -= piece.values.length;
    yield piece;
  }
}

function single(id: number, delayMs = 0): Piece {
  const name = `s${id}`;
  return {
    values: [joined(name)],
    failures: 0,
    send: async (server) => alone(await server.send(join(name), { delayMs })),
  };
}

function retriedOne(id: number): Piece {
  const name = `r${id}`;
  return {
    values: [joined(name)],
    failures: 1,
    send: async (server) => alone(await server.send(retried(name))),
  };
}

function chained(id: number, length: number): Piece {
  const names = Array.from({ length }, (_, i) => `c${id}.${i}`);
  const values: string[] = [];
  for (const name of names) values.push(joined(name, values.slice(-1)));
  const steps = names.map((name) => join.partial(name));
  return { values, failures: 0, send: async (server) => together(await server.send(chain(...steps))) };
}

function chorded(id: number, members: number): Piece {
  const names = Array.from({ length: members }, (_, i) => `g${id}.${i}`);
  const values = names.map((name) => joined(name));
  return {
    values: [...values, joined(`g${id}`, values)],
    failures: 0,
    send: async (server) =>
      together(
        await server.send(
          chord(
            names.map((name) => join(name)),
            join.partial(`g${id}`),
          ),
        ),
      ),
  };
}

function chainedChord(id: number, members: number): Piece {
  const names = Array.from({ length: members }, (_, i) => `m${id}.${i}`);
  const first = joined(`m${id}.first`);
  const middle = names.map((name) => joined(name, [first]));
  const callback = joined(`m${id}`, middle);
  const fan = chord(
    names.map((name) => join.partial(name)),
    join.partial(`m${id}`),
  );
  return {
    values: [first, ...middle, callback, joined(`m${id}.last`, [callback])],
    failures: 0,
    send: async (server) => together(await server.send(chain(join(`m${id}.first`), fan, join.partial(`m${id}.last`)))),
  };
}

function alone(result: { readonly uuid: string; get: Awaited['get'] }): Awaited {
  return { uuids: [result.uuid], get: (options) => result.get(options) };
}

function together(result: { readonly tasks: readonly { readonly uuid: string }[]; get: Awaited['get'] }): Awaited {
  return { uuids: result.tasks.map(({ uuid }) => uuid), get: (options) => result.get(options) };
}
