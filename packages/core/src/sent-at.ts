// When a signature was sent: the one place that decides.

import { header } from './headers.ts';
import type { Signature } from './signature.ts';
import { sentAtMsOf } from './uuid.ts';
import { encodeTime, toUtcText } from './wire/time.ts';

/** Many messages are of one millisecond. */
let last = { ms: Number.NaN, text: '' };

/**
 * What its header says; else what its UUID holds, when it was made at the moment of sending. Undefined for Go's messages,
 * and for what has not been sent.
 */
export function sentAtOf({ uuid, headers }: Pick<Signature, 'uuid' | 'headers'>): string | undefined {
  const sentAt = headers?.[header.sentAt];
  if (typeof sentAt === 'string' && toUtcText(sentAt) !== undefined) return sentAt;
  const ms = uuid === undefined ? undefined : sentAtMsOf(uuid);
  if (ms === undefined) return undefined;
  if (ms !== last.ms) last = { ms, text: encodeTime(new Date(ms)) };
  return last.text;
}
