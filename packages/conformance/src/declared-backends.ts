// What each of our own result backends must declare, so that no capability is declared away to make a suite pass. Limits
// are the defaults; what options set is told to the suite as `limitsByOptions`. An adapter that turns out to need another
// entry changes it here, with the reason beside it.

import type { BackendCapabilities } from '@machinery/core';

/** By `backend.name`. */
export const declaredBackends: Readonly<Record<string, BackendCapabilities>> = {
  '@machinery/core/memory MemoryBackend': { storesResults: true, push: true },
  '@machinery/core/memory NullBackend': { storesResults: false },

  // The server's limit is 512 MB a value. Final states are pushed by publish and subscribe.
  '@machinery/backend-redis': { storesResults: true, push: true },
  '@machinery/backend-amqp': { storesResults: true, readConsumes: true, takesGroups: true },
  // An item of 1 MiB holds its key and flags, too; a member's UUID takes 44 bytes of a group's meta.
  '@machinery/backend-memcache': { storesResults: true, maxStateBytes: 1_000_000, maxGroupSize: 20_000 },
  // A document has at most 16 MiB. Change streams need a replica set, so nothing is pushed.
  '@machinery/backend-mongodb': { storesResults: true, maxStateBytes: 16_000_000, maxGroupSize: 100_000 },
  // An item has at most 400 KiB with the names of its attributes. Larger batches go as several requests. A list's element
  // takes one byte beside its UUID of 41.
  '@machinery/backend-dynamodb': { storesResults: true, maxStateBytes: 390_000, maxGroupSize: 9_000 },
};
