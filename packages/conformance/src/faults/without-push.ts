// A backend that tells nobody when a task is finished, as most stores cannot: results are then polled for.

import type { Backend } from '@machinery/core';

/** The same backend without `watch`. */
export function withoutPush(inner: Backend): Backend {
  const { push: _, ...capabilities } = inner.capabilities;
  const hidden: Record<string, unknown> = { name: `${inner.name} without push`, capabilities, watch: undefined };
  return new Proxy(inner, {
    get(target, key) {
      const member: unknown = Object.hasOwn(hidden, key) ? hidden[key as string] : Reflect.get(target, key, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
    has: (target, key) => key !== 'watch' && Reflect.has(target, key),
  });
}
