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
