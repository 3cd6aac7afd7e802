// `npm run soak [-- --broker amqp --seed 1 --tasks 100000 --kills 50 --workers 3 --pause-ms 60000 --no-kill-server --drop 0]`: exits with 1
// when anything is lost or wrong. What it prints is kept in `results/`.

import { appendFileSync, mkdirSync, rmSync } from 'node:fs';
import { cpus } from 'node:os';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

const { values } = parseArgs({
  options: {
    broker: { type: 'string', default: 'redis' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    tasks: { type: 'string', default: '100000' },
    kills: { type: 'string', default: '50' },
    workers: { type: 'string', default: '3' },
    'pause-ms': { type: 'string', default: '60000' },
    'kill-server': { type: 'boolean', default: true },
    drop: { type: 'string', default: '0' },
    'lease-ms': { type: 'string', default: '3000' },
    'beat-ms': { type: 'string', default: '750' },
    'patience-ms': { type: 'string', default: '120000' },
  },
  allowNegative: true,
});

const folder = fileURLToPath(new URL('../results/', import.meta.url));
mkdirSync(folder, { recursive: true });
const { broker } = values;
if (broker !== 'redis' && broker !== 'amqp') throw new Error(`Expected --broker to be redis or amqp, got ${broker}`);
const file = `${folder}${broker === 'redis' ? '' : 'amqp-'}seed-${values.seed}.txt`;
rmSync(file, { force: true });
const log = (line: string) => {
  console.log(line);
  appendFileSync(file, `${line}\n`);
};

log(`${new Date().toISOString()}, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`);
const problems = await soak({
  broker,
  seed: Number(values.seed),
  tasks: Number(values.tasks),
  kills: Number(values.kills),
  workers: Number(values.workers),
  pauseMs: Number(values['pause-ms']),
  killServer: values['kill-server'],
  drop: Number(values.drop),
  leaseMs: Number(values['lease-ms']),
  beatMs: Number(values['beat-ms']),
  patienceMs: Number(values['patience-ms']),
  log,
});
process.exitCode = problems.length === 0 ? 0 : 1;
