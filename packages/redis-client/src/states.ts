// What a result backend lends to a broker on the same server, so that one script stores a task's state and publishes its
// message.

import type { TaskState } from '@machinery/core';
import type { RedisConnection } from './connection.ts';

/** The member of a backend that lends it. Known by name, as broker and backend may have copies of their own of this package. */
export const statesOnServer: unique symbol = Symbol.for('@machinery/redis-client/states-on-server') as never;

export interface LendsStates {
  /**
   * How the backend encodes a state that it stores under the task's UUID, with an expiry; undefined when `connection` does not
   * lead to its own database.
   */
  [statesOnServer](connection: RedisConnection): ((state: TaskState) => string) | undefined;
}
