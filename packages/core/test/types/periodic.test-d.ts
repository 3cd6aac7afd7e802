// What may be registered to be sent periodically.

import { chain, chord, defineTask, group, type PeriodicEntry } from '../../src/index.ts';
import { add, minus, server } from './tasks.ts';

const nightly = defineTask('nightly');
const spec = '0 6 * * *';

const entry: PeriodicEntry = server.registerPeriodicTask(spec, 'n', add(1, 2));
entry.next?.getTime();
server.registerPeriodicTask(spec, 'n', { name: 'plain' });
server.registerPeriodicTask(spec, 'n', () => add(1, 2));
server.registerPeriodicTask(spec, 'n', async () => add(1, 2));
server.registerPeriodicTask(spec, 'n', async () => ({ name: 'plain' }));
server.registerPeriodicTask(spec, 'n', nightly);
server.registerPeriodicChain(spec, 'n', chain(add(1, 2), add.partial(3)));
server.registerPeriodicChain(spec, 'n', () => chain(nightly()));
server.registerPeriodicGroup(spec, 'n', group([add(1, 2)]), { sendConcurrency: 1 });
server.registerPeriodicChord(spec, 'n', async () => chord([nightly()], nightly()), { sendConcurrency: 1 });

// @ts-expect-error an argument is missing
server.registerPeriodicTask(spec, 'n', minus.partial(1));
// @ts-expect-error the same of what a function makes
server.registerPeriodicTask(spec, 'n', () => minus.partial(1));
// @ts-expect-error a definition is called without arguments, and this one takes two
server.registerPeriodicTask(spec, 'n', minus);
// @ts-expect-error a chain is no task
server.registerPeriodicTask(spec, 'n', chain(nightly()));
// @ts-expect-error a task is no chain
server.registerPeriodicChain(spec, 'n', nightly());
// @ts-expect-error the chain lacks an argument
server.registerPeriodicChain(spec, 'n', chain(minus.partial(1), nightly().with({ ignoreResult: true })));
// @ts-expect-error a group is no chord
server.registerPeriodicChord(spec, 'n', group([nightly()]));
// @ts-expect-error nobody could abort a tick
server.registerPeriodicGroup(spec, 'n', group([nightly()]), { signal: new AbortController().signal });
// @ts-expect-error there is only one message at a time
server.registerPeriodicTask(spec, 'n', nightly, { sendConcurrency: 1 });
// @ts-expect-error entries are changed by their methods
entry.paused = true;
