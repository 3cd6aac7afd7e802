// How parent and children get the broker and the backend under test: from one module, which each process loads by itself.

import type { Backend, Broker } from '@machinery/core';

export interface Adapters {
  readonly broker: Broker;
  readonly backend: Backend;
}

/**
 * What the module under test exports. It is loaded by child processes too, so it must be JavaScript that Node can load,
 * and what it needs to know (a server's address) comes from the environment.
 */
export interface AdaptersModule {
  /** Makes what `queue` needs, where a broker does not do so by itself. */
  prepareQueue?(queue: string): Promise<void>;
  createBroker(queue: string): Broker | Promise<Broker>;
  createBackend(queue: string): Backend | Promise<Backend>;
}

export function loadAdapters(url: string): Promise<AdaptersModule> {
  return import(/* @vite-ignore */ url) as Promise<AdaptersModule>;
}

/** `inner` with some of its members replaced. What `inner` does not have, `replaced` must not have either. */
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
