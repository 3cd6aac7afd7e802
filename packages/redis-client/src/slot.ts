// Slots of a Cluster.

/** What keys must begin with to be in the slot of `key`: its own tag, or the key as one. */
export function slotTag(key: string): string {
  return /\{[^}]+\}/.test(key) ? key : `{${key}}`;
}
