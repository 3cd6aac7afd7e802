// What @machinery/lock-eager exports.

export { EagerLock, type EagerLockOptions } from './eager-lock.ts';
