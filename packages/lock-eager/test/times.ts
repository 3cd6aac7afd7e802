// Times as the tests of the lock say them.

/** Unix nanoseconds of a time so many milliseconds from now. */
export const inMs = (ms: number): bigint => BigInt(Date.now() + ms) * 1_000_000n;
