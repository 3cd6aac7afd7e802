// Runs cells: in each, the systems take turns (A B C A B C), each time with processes and a Redis, or a queue, of their own.

import type { Cell, Outcome } from './cells/cell.ts';
import { type Machine, machine } from './machine.ts';
import { Rabbit } from './rabbit.ts';
import { Session } from './session.ts';
import type { Sizes } from './sizes.ts';
import { type BrokerName, runs, type SystemRow } from './systems.ts';

interface Round extends Partial<Outcome> {
  readonly cell: string;
  readonly system: string;
  readonly round: number;
  /** In place of values. */
  readonly error?: string;
}

/** The raw numbers, as they are written. */
export interface Run {
  readonly date: string;
  readonly broker: BrokerName;
  /** Its version, where it is RabbitMQ. */
  readonly rabbitmq?: string;
  readonly machine: Machine;
  readonly sizes: Sizes;
  readonly versions: { readonly [system: string]: { readonly [name: string]: string } };
  readonly rounds: readonly Round[];
}

export interface RunOptions {
  readonly broker: BrokerName;
  readonly cells: readonly Cell[];
  readonly systems: readonly SystemRow[];
  readonly sizes: Sizes;
  readonly log: (line: string) => void;
}

export async function run({ broker, cells, systems, sizes, log }: RunOptions): Promise<Run> {
  process.setMaxListeners(0); // each Redis waits for the end of this process, to end with it
  await using rabbit = new Rabbit();
  const date = new Date().toISOString();
  const start = performance.now();
  const present = systems.filter((system) => system.program() !== undefined);
  const versions = Object.fromEntries(await Promise.all(present.map(versionsOf)));
  const rounds: Round[] = [];
  for (const cell of cells) {
    if (cell.only !== undefined && cell.only !== broker) continue;
    const able = present.filter((system) => runs(system, cell.name));
    for (let round = 1; round <= sizes.rounds; round++) {
      const turn = async (system: SystemRow) => {
        if (rounds.some((one) => one.cell === cell.name && one.system === system.name && one.atLeast)) return; // it was too slow
        const outcome = await measure(cell, system, sizes, rabbit);
        rounds.push({ cell: cell.name, system: system.name, round, ...outcome });
        const seconds = Math.round((performance.now() - start) / 1_000);
        log(`${seconds} s: ${cell.name}, round ${round}, ${system.name}: ${show(outcome)}`);
      };
      if (cell.beside) await Promise.all(able.map(turn));
      else for (const system of able) await turn(system);
    }
  }
  const { version } = rabbit;
  return { date, broker, ...(broker === 'amqp' && { rabbitmq: version }), machine: machine(), sizes, versions, rounds };

  async function versionsOf(system: SystemRow): Promise<[string, Record<string, string>]> {
    await using session = await Session.start(system, sizes, rabbit);
    const { versions } = await session.sender.ask<{ versions: Record<string, string> }>({ do: 'hello' });
    return [system.name, versions];
  }
}

async function measure(
  cell: Cell,
  system: SystemRow,
  sizes: Sizes,
  rabbit: Rabbit,
): Promise<Outcome | { readonly error: string }> {
  try {
    await using session = await Session.start(system, sizes, rabbit);
    await session.ready();
    return await cell.run(session);
  } catch (error) {
    return { error: String((error as Error)?.message ?? error) };
  } finally {
    if (system.leavesQueues) await rabbit.stop();
  }
}

function show(outcome: Outcome | { readonly error: string }): string {
  if ('error' in outcome) return `FAILED: ${outcome.error}`;
  const one = ([key, value]: [string, number]) =>
    `${key} ${outcome.atLeast?.includes(key) ? 'more than ' : ''}${Number(value.toPrecision(4))}`;
  return Object.entries(outcome.values).map(one).join(', ');
}
