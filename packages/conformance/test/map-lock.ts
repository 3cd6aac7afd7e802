// A lock inside this process, to try the suite on.

import { contractVersion, type Lock } from '@machinery/core';

export class MapLock implements Lock {
  readonly contractVersion = contractVersion;
  readonly name: string = 'MapLock';
  readonly #expiries: Map<string, bigint>;

  constructor(expiries: Map<string, bigint>) {
    this.#expiries = expiries;
  }

  async acquire(key: string, expiresAtNs: bigint): Promise<boolean> {
    if (this.expiryOf(key) > this.nowNs()) return false;
    this.hold(key, expiresAtNs);
    return true;
  }

  async close(): Promise<void> {}

  protected nowNs(): bigint {
    return BigInt(Date.now()) * 1_000_000n;
  }

  protected expiryOf(key: string): bigint {
    return this.#expiries.get(key) ?? 0n;
  }

  protected hold(key: string, expiresAtNs: bigint): void {
    this.#expiries.set(key, expiresAtNs);
  }
}
