// The contract of a lock: what lets one of many schedulers fire a periodic task.

import type { ContractVersion } from './contract-version.ts';

/** A lock that many processes share. */
export interface Lock {
  readonly contractVersion: ContractVersion;
  /** The package's name, for error messages. */
  readonly name: string;
  /**
   * Takes the lock `key` until `expiresAtNs` (Unix nanoseconds), or answers false when another holder has it. There is
   * no release: the lock ends when its time has passed, and whoever comes then takes it over.
   *
   * Time is this machine's or the store's; a key that nobody holds may be refused when `expiresAtNs` has passed.
   *
   * Safe to call at once from any number of processes: at most one gets true for one key before it expires. Rejects
   * only when the store cannot be asked: with ERR_MACHINERY_BACKEND_UNAVAILABLE when trying again may help, which core does until
   * the next tick. A lock that ends up to a quarter of a second late is asked again.
   */
  acquire(key: string, expiresAtNs: bigint): Promise<boolean>;
  /** Ends connections that the lock opened itself; a client that was given stays open. Safe to call twice. */
  close(): Promise<void>;
}
