// The meta of a group and who has the claim of its chord, as one text: whatever changes one of them is one compare-and-swap. Go reads
// it as a meta, and takes the chord for decided once there is a claim.

import { decodeGroupMeta, encodeGroupMetaCanonical, type GroupMeta } from '@machinery/core';

export interface GroupRecord {
  /** Its flag is set when the callback is sent, or a Go worker has decided. */
  readonly meta: GroupMeta;
  /** The member that has it, until the callback is sent. */
  readonly claim?: string;
}

/** Cannot be inside of a text, whose quotes are escaped. */
const claimField = ',"Claim":';

export function encodeRecord({ meta, claim }: GroupRecord): string {
  if (claim === undefined) return encodeGroupMetaCanonical(meta);
  const text = encodeGroupMetaCanonical({ ...meta, chordTriggered: true });
  return `${text.slice(0, -1)}${claimField}${JSON.stringify(claim)}}`;
}

/** @throws for a text that is no meta. */
export function decodeRecord(text: string): GroupRecord {
  const meta = decodeGroupMeta(text);
  const at = text.lastIndexOf(claimField);
  if (at === -1) return { meta };
  return { meta: { ...meta, chordTriggered: false }, claim: JSON.parse(text.slice(at + claimField.length, -1)) };
}
