// An adapter with some of its members replaced, whatever its class.

/**
 * `inner` with some of its members replaced: `overlay(broker, { close: async () => {} })` is one of several users of a broker. What `inner` does not
 * have, `replaced` must not have either.
 */
export function overlay<T extends object>(inner: T, replaced: Partial<T>): T {
  return new Proxy({} as T, {
    get(_, key) {
      if (Object.hasOwn(replaced, key)) return replaced[key as keyof T];
      const value = Reflect.get(inner, key);
      return typeof value === 'function' ? value.bind(inner) : value;
    },
    has: (_, key) => Reflect.has(inner, key),
  });
}
