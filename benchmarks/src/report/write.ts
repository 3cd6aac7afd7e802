// Where a run goes: raw JSON, tables and charts into `results/last`, or, to be kept, into `results` and docs/performance.md.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Run } from '../run.ts';
import { systems } from '../systems.ts';
import { chart, charts } from './chart.ts';
import { table, targetTable } from './table.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

export function write(run: Run, folder = join(root, 'benchmarks/results/last')): void {
  rmSync(folder, { recursive: true, force: true });
  put(join(folder, 'run.json'), json(run));
  put(join(folder, 'tables.md'), `${about(run)}\n\n${table(run)}\n\n${targetTable(run)}\n`);
  drawInto(folder, run);
}

/** Keeps the raw numbers under a name, and shows them in docs/performance.md. */
export function save(run: Run, name: string): void {
  const file = `benchmarks/results/${name}.json`;
  put(join(root, file), json(run));
  const isRedis = run.broker === 'redis';
  const drawn = isRedis ? drawInto(join(root, 'docs/charts'), run) : [];
  const page = join(root, 'docs/performance.md');
  const intro = `${about(run)} Raw numbers: [${file}](../${file}).`;
  const images = drawn.map((family) => `![${charts[family]}](charts/${family}.svg)`).join('\n\n');
  const [what, heading] = isRedis ? ['results', '### Targets'] : ['results on RabbitMQ', '### Targets on RabbitMQ'];
  const sections = [intro, images, table(run), heading, targetTable(run)].filter((section) => section !== '');
  const block = `<!-- ${what} -->\n\n${sections.join('\n\n')}\n\n<!-- end of ${what} -->`;
  const text = readFileSync(page, 'utf8');
  writeFileSync(
    page,
    text.replace(new RegExp(`<!-- ${what} -->[^]*<!-- end of ${what} -->`), () => block),
  );
}

/** The machine and the versions, in a line. */
export function about({ date, broker, rabbitmq, machine, sizes, versions }: Run): string {
  const { cpus, cpu, memoryGb, os, node, redis, commit, load } = machine;
  const others = systems[broker].flatMap(({ name, title }) => {
    const version = Object.entries(versions[name] ?? {}).find(([key]) => /bullmq|asynq|RichardKnop/.test(key))?.[1];
    return version === undefined || /-(?:1ms|amqp)$/.test(name) ? [] : [`${title.split(',')[0]} ${version}`];
  });
  const programs = [
    `commit ${commit}`,
    `Node ${node}`,
    `Redis ${redis}`,
    ...(rabbitmq === undefined ? [] : [`RabbitMQ ${rabbitmq}`]),
    ...others,
  ].join(', ');
  const rounds = `${sizes.rounds} ${sizes.rounds === 1 ? 'round' : 'rounds'} of ${sizes.tasks.toLocaleString('en')} tasks`;
  return `${date.slice(0, 10)}, ${rounds}; ${cpus} × ${cpu}, ${memoryGb} GB, ${os}, load ${load.toFixed(1)}; ${programs}.`;
}

function drawInto(folder: string, run: Run): string[] {
  return Object.keys(charts).filter((family) => {
    const svg = chart(run, family);
    if (svg !== undefined) put(join(folder, `${family}.svg`), svg);
    return svg !== undefined;
  });
}

/** One line a round. */
function json({ rounds, ...run }: Run): string {
  const head = JSON.stringify(run, null, 2).slice(0, -2);
  return `${head},\n  "rounds": [\n${rounds.map((round) => `    ${JSON.stringify(round)}`).join(',\n')}\n  ]\n}\n`;
}

function put(file: string, content: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}
