// The subpath `@machinery/core/memory`: brokers and result backends inside the process.

export { EagerBroker } from './eager-broker.ts';
export { MemoryBackend, type MemoryBackendOptions } from './memory-backend.ts';
export { MemoryBroker, type MemoryBrokerOptions } from './memory-broker.ts';
export type { DeadMessage } from './memory-queue.ts';
export { NullBackend } from './null-backend.ts';
