// UUIDs of tasks and groups, named as Go's. Those that one process makes begin alike: a backend can tell whoever waits for
// any of them on one channel.

import { createHash, randomBytes, randomUUID } from 'node:crypto';

const processPart = randomBytes(4).toString('hex');

/** `<kind>_<uuid v4>`. The first 8 digits are this process's, the other 22 random. */
export function newUuid(kind: string): string {
  return `${kind}_${processPart}${randomUUID().slice(8)}`;
}

/** The same follow-up of the same task always gets the same UUID, so that a redelivery finds what it sent before. */
export function derivedUuid(place: string): string {
  const hash = createHash('sha256').update(place).digest('hex');
  return `task_${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-a${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
