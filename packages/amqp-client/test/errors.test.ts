// What the server's words mean, as RabbitMQ 3.10 and 4.0 choose them.

import { describe, expect, it } from 'vitest';
import { amqpError, isMissing } from '../src/errors.ts';

const closed = (code: number, text: string) =>
  Object.assign(new Error(`Operation failed: QueueDeclare; ${code} with message "${text}"`), { code });

describe('an error of RabbitMQ', () => {
  it.each([
    [404, "NOT_FOUND - home node 'machinery-1@localhost' of durable queue 'q' in vhost '/' is down or inaccessible"],
    [404, "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor"],
    [406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms.'],
    [530, "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached"],
  ])('of code %i passes: %s', (code, text) => {
    const error = amqpError('broker', 'declare queue q', closed(code, text));
    expect(error.code).toBe('ERR_MACHINERY_BROKER_UNAVAILABLE');
    expect(isMissing(error)).toBe(false);
  });

  it.each([
    [404, "NOT_FOUND - no queue 'q' in vhost '/'", true],
    [403, "ACCESS_REFUSED - queue 'q' in vhost '/' refused for user 'guest'", false],
    [406, "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/'", false],
  ])('of code %i is for good: %s', (code, text, missing) => {
    const error = amqpError('backend', 'declare queue q', closed(code, text));
    expect(error.code).toBe('ERR_MACHINERY_BACKEND_FAILED');
    expect(isMissing(error)).toBe(missing);
  });
});
