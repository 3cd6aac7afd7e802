// Slots of a Cluster.

import { MachineryError } from '@machinery/core';

/**
 * What keys must begin with to be in the slot of `key`: the key with its own tag, or the key as a tag.
 * @throws MachineryError ERR_MACHINERY_INVALID_ARGUMENT for a key that has a brace, but no tag.
 */
export function slotTag(key: string): string {
  // Redis: what is between the first { and the next }, if there is anything
  if (/^[^{]*\{[^}]+\}/.test(key)) return `${key}:`; // not as `{key}`, which is what another key has
  if (!key.includes('}')) return `{${key}}`;
  const text = `${key}: expected braces around some of it, or none, so that other keys can share its slot in a Cluster`;
  throw new MachineryError('ERR_MACHINERY_INVALID_ARGUMENT', text);
}
