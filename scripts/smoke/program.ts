// Compiled and run by `npm run check` in a project that has only the packed packages.
import * as core from '@machinery/core';
import * as memory from '@machinery/core/memory';

console.log(`core exports ${Object.keys(core).length} names, memory ${Object.keys(memory).length}`);
