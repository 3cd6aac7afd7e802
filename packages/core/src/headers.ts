// The headers of this project. Their values are text: Go's AMQP client refuses numbers that it decoded from JSON.

export const header = {
  /** When the message was sent, where its UUID does not hold it (`sent-at.ts`). */
  sentAt: 'machinery-sent-at',
  /** Which attempt the message is, from 2 on. */
  attempt: 'machinery-attempt',
  /** How long an attempt may take, in milliseconds. */
  timeoutMs: 'machinery-timeout-ms',
  /** How long failed attempts wait: a Backoff as JSON. */
  backoff: 'machinery-backoff',
} as const;
