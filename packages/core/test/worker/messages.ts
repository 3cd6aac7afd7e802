// Bodies of messages as our own programs and Go's send them.

import { header } from '../../src/headers.ts';
import type { Signature } from '../../src/signature.ts';
import { encodeSignature, encodeSignatureCanonical } from '../../src/wire/signature-codec.ts';

/** When the messages of these tests were sent. */
export const sentAt = '2026-11-21T08:00:00.123Z';
export const laterSentAt = '2026-11-21T09:00:00.456Z';
/** A time of sending as Go stores it. */
export const goSentAt = '2026-11-21T08:00:00.123456789Z';

/** A message of ours: it says when it was sent, and which attempt it is. */
export function ourMessage(signature: Signature, attempt = 1, time = sentAt): string {
  return encodeSignature({
    routingKey: 'q',
    ...signature,
    headers: {
      ...signature.headers,
      [header.sentAt]: time,
      ...(attempt > 1 && { [header.attempt]: String(attempt) }),
    },
  });
}

/** A message of Go's: every field is there, and no header of ours. */
export function goMessage(signature: Signature): string {
  return encodeSignatureCanonical({ routingKey: 'q', ...signature });
}
