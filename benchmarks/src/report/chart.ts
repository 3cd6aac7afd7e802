// A family of cells as an SVG: one bar a system, the median, with a line over the range of the rounds. Each group has its own scale.

import type { Run } from '../run.ts';
import { systems } from '../systems.ts';
import { measured, number, summary } from './summary.ts';

const width = 720;
const labels = 170;
const numbers = 120;
const bar = 18;
const scale = width - labels - numbers;

const style = `
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.ours { fill: #2f6feb }
.range { stroke: #1f2328 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 }
  .ours { fill: #4c8dff }
  .range { stroke: #e6edf3 }
}`;

export const charts: Readonly<Record<string, string>> = {
  enqueue: 'Enqueue, tasks a second (more is better)',
  drain: 'Drain, tasks a second (more is better)',
  'end-to-end': 'End to end, tasks a second (more is better)',
  latency: 'Latency of one task, ms (less is better)',
  chord: 'Chords, ms (less is better)',
};

/** undefined when nothing of the family was measured. */
export function chart(run: Run, family: string): string | undefined {
  const groups = measured(run).filter(({ cell }) => cell.name === family || cell.name.startsWith(`${family}-`));
  if (groups.length === 0) return undefined;
  const parts = [text(0, 16, charts[family] ?? family, 'title')];
  let y = 28;
  for (const { cell, metric, title } of groups) {
    const bars = systems[run.broker].flatMap(({ name, title }) => {
      const found = summary(run, name, cell.name, metric.key);
      return found === undefined ? [] : [{ name, title, ...found }];
    });
    // One that is far behind would make the others invisible: its bar is cut.
    const reference = summary(run, 'machinery', cell.name, metric.key)?.median ?? Number.POSITIVE_INFINITY;
    const longest = Math.min(Math.max(...bars.map(({ most }) => most)), 8 * reference);
    const x = (value: number) => labels + Math.min(1, value / longest) * scale;
    if (groups.length > 1) parts.push(text(0, y + 14, title, 'title'));
    if (groups.length > 1) y += 20;
    for (const one of bars) {
      const kind = ours(one.name) ? 'bar ours' : 'bar';
      const middle = y + bar / 2;
      parts.push(
        text(labels - 8, middle + 4, one.title, undefined, 'end'),
        `<rect class="${kind}" x="${labels}" y="${y + 2}" width="${px(x(one.median) - labels)}" height="${bar - 4}"/>`,
        `<path class="range" d="M${px(x(one.least))} ${middle}H${px(x(one.most))}"/>`,
        text(
          x(one.most) + 6,
          middle + 4,
          `${one.median > longest ? '… ' : ''}${one.atLeast ? '> ' : ''}${number(one.median)}`,
        ),
      );
      y += bar;
    }
    y += 8;
  }
  const size = `width="${width}" height="${y}" viewBox="0 0 ${width} ${y}"`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">`;
  const title = `<title>${escaped(charts[family] ?? family)}</title>`;
  return `${[head, title, `<style>${style}`, '</style>', ...parts, '</svg>'].join('\n')}\n`;
}

function text(x: number, y: number, content: string, kind?: string, anchor?: string): string {
  const attributes = [kind && ` class="${kind}"`, anchor && ` text-anchor="${anchor}"`].filter(Boolean).join('');
  return `<text x="${px(x)}" y="${px(y)}"${attributes}>${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function ours(name: string): boolean {
  return /^(?:machinery|memory)/.test(name);
}
