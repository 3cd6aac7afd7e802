// The version of the contracts (Broker, Backend, Lock). An adapter carries the one it was written for, and `new Server` refuses another.

import { MachineryError } from './errors.ts';
import { invalidOption, show } from './options.ts';

/** The version that this core works with. */
export const contractVersion = 1;

export type ContractVersion = typeof contractVersion;

/** What each kind of adapter can be told by. */
const members = { broker: ['publish', 'consume'], backend: ['write', 'read'], lock: ['acquire'] } as const;

/** Refuses what is no adapter of this kind, or was written for another version of the contracts. */
export function checkAdapter(role: keyof typeof members, adapter: object): void {
  const { contractVersion: version, name } = adapter as { contractVersion?: unknown; name?: unknown };
  const isOne = members[role].every((member) => typeof (adapter as Record<string, unknown>)[member] === 'function');
  if (version === undefined || !isOne) {
    const got = typeof name === 'string' ? name : show(adapter);
    throw invalidOption(
      `Expected \`${role}\` to be a ${role} (with contractVersion and ${members[role].join(', ')}), got ${got}`,
    );
  }
  if (version === contractVersion) return;
  throw new MachineryError(
    'ERR_MACHINERY_CONTRACT_VERSION',
    `${String(name)} was written for version ${String(version)} of the ${role} contract, @machinery/core has version ${contractVersion}: install versions of both packages that go together`,
  );
}
