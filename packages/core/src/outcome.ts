// What becomes of one item of a batch. Every batched call of an adapter answers one outcome for each item, in order:
// the batch rejects only when the adapter cannot say anything about its items.

/** `unknown`: it may or may not have been stored (a connection was lost after the request had left). */
export type Outcome =
  | { readonly status: 'stored' }
  | { readonly status: 'unknown'; readonly error: Error }
  | { readonly status: 'failed'; readonly error: Error; readonly retryable: boolean };

/** The outcome of an item that is stored. Shared, as most items are. */
export const stored: Outcome = Object.freeze({ status: 'stored' });

/** The outcome of an item that was not stored; `retryable` when the same call may succeed later. */
export function failed(error: Error, retryable: boolean): Outcome {
  return { status: 'failed', error, retryable };
}
