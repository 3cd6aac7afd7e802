// The time zone of the process, for a test.

import { onTestFinished } from 'vitest';

/** Sets the process's time zone until the test is over. */
export function setTimeZone(zone: string): void {
  const before = process.env.TZ;
  process.env.TZ = zone;
  onTestFinished(() => {
    if (before === undefined) delete process.env.TZ;
    else process.env.TZ = before;
  });
}
