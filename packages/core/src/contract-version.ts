// The version of the contracts (Broker, Backend, Lock). An adapter carries the one it was written for, and `new Server` refuses another.

import { MachineryError } from './errors.ts';

/** The version that this core works with. */
export const contractVersion = 1;

export type ContractVersion = typeof contractVersion;

/** Refuses an adapter that was written for another version of the contracts. */
export function checkContractVersion(role: 'broker' | 'backend' | 'lock', adapter: unknown): void {
  const { contractVersion: version, name } = (adapter ?? {}) as { contractVersion?: unknown; name?: unknown };
  if (version === contractVersion) return;
  if (version === undefined) {
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_OPTION',
      `Expected \`${role}\` to be a ${role} (an object with contractVersion ${contractVersion}), got \`${String(adapter)}\` (${typeof adapter})`,
    );
  }
  throw new MachineryError(
    'ERR_MACHINERY_CONTRACT_VERSION',
    `${String(name)} was written for version ${String(version)} of the ${role} contract, @machinery/core has version ${contractVersion}: install versions of both packages that go together`,
  );
}
