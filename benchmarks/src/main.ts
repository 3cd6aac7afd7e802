// `npm run bench [-- --quick --broker amqp --cell drain,chord --system machinery,bullmq --rounds 5 --save node20 --from file.json]`
// Measures all systems, or shows a run from its raw numbers. `--save` keeps them and writes docs/performance.md.
// `--cell requests [--system backend-mongodb --quick --save node20]` counts the requests of each broker and backend instead.

import { readFileSync } from 'node:fs';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { cells } from './cells/index.ts';
import { failures, table, targetTable } from './report/table.ts';
import { about, save, write } from './report/write.ts';
import { fullSizes, measureRequests, quickSizes } from './requests/measure.ts';
import { requestTable, saveRequests } from './requests/report.ts';
import { stores } from './requests/stores.ts';
import { type Run, run } from './run.ts';
import { full, quick } from './sizes.ts';
import { type BrokerName, isOneOf, systems } from './systems.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    broker: { type: 'string', default: 'redis' },
    cell: { type: 'string' },
    system: { type: 'string' },
    rounds: { type: 'string' },
    from: { type: 'string' },
    save: { type: 'string' },
  },
});

/** Those that a list names, or all. */
function chosen<T extends { readonly name: string }>(all: readonly T[], list: string | undefined): readonly T[] {
  const names = list?.split(',');
  const unknown = names?.filter((name) => !all.some((one) => isOneOf(one.name, [name])));
  if (unknown === undefined || names === undefined) return all;
  if (unknown.length === 0) return all.filter((one) => isOneOf(one.name, names));
  console.error(`There is no ${unknown.join(', ')}; there are ${all.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

if (values.cell === 'requests') {
  const sizes = values.quick ? quickSizes : fullSizes;
  const counted = await measureRequests(chosen(stores, values.system), sizes, (line) => console.log(line));
  if (values.save !== undefined) saveRequests(counted, values.save);
  console.log(`\n${requestTable(counted)}`);
  process.exit();
}

async function measure(): Promise<Run> {
  const broker = values.broker as BrokerName;
  if (!Object.hasOwn(systems, broker)) {
    console.error(`There is no ${broker}; there are ${Object.keys(systems).join(', ')}`);
    process.exit(2);
  }
  const base = values.quick ? quick : full;
  const sizes = { ...base, rounds: Number(values.rounds ?? base.rounds) };
  const some = chosen(cells, values.cell).filter(({ slow }) => !(slow && values.quick && values.cell === undefined));
  const what = { broker, cells: some, systems: chosen(systems[broker], values.system) };
  return run({ ...what, sizes, log: (line) => console.log(line) });
}

const result = values.from === undefined ? await measure() : (JSON.parse(readFileSync(values.from, 'utf8')) as Run);
write(result);
if (values.save !== undefined) save(result, values.save);
console.log(`\n${about(result)}\n\n${table(result)}\n\n${targetTable(result)}\n\nWritten to benchmarks/results/last`);
const failed = failures(result);
if (failed.length > 0) console.error(`\nFailed:\n${failed.join('\n')}`);
process.exit(failed.length === 0 ? 0 : 1);
