// Requests are counted: of a store with a given client, and of one behind a proxy.

import { describe, expect, it } from 'vitest';
import { measureRequests } from '../src/requests/measure.ts';
import { requestTable } from '../src/requests/report.ts';
import { stores } from '../src/requests/stores.ts';

const sizes = { alone: 10, together: 50, members: 5, chords: 1 };

describe('the count of requests', () => {
  it.each(['backend-memcache', 'backend-dynamodb', 'broker-sqs'])('of %s', { timeout: 30_000 }, async (name) => {
    const store = stores.filter((one) => one.name === name);
    const run = await measureRequests(store, sizes, () => {});
    if (run.rows.length === 0) return; // its server is not there
    const [row] = run.rows;
    // PENDING or the message, then the final state or the settlement
    expect(row?.alone).toBeGreaterThanOrEqual(2);
    expect(row?.alone).toBeLessThan(20);
    expect(row?.together).toBeGreaterThan(0);
    expect(row?.together).toBeLessThan(row?.alone as number);
    expect(row?.chord).toBeGreaterThan(row?.alone as number);
    expect(requestTable(run)).toMatch(new RegExp(`\\| ${name} \\| .+ \\| [\\d.]+ \\| [\\d.]+ \\| [\\d.]+ \\|`));
  });
});
