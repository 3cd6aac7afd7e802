// All cells, in the order in which they run and are shown. A new one is a file and a line here.

import type { Cell } from './cell.ts';
import { chords } from './chord.ts';
import { commands } from './commands.ts';
import { crash } from './crash.ts';
import { delayed, delayedBurst } from './delayed.ts';
import { drains } from './drain.ts';
import { endToEnd } from './end-to-end.ts';
import { enqueues } from './enqueue.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';

export const cells: readonly Cell[] = [
  ...enqueues,
  ...drains,
  endToEnd,
  latency,
  ...chords,
  delayed,
  delayedBurst,
  crash,
  memory,
  commands,
];
