// The adapters of adapters.mjs with a backend of which workers must not read.

import * as sound from './adapters.mjs';

export const { createBroker } = sound;

export function createBackend() {
  const backend = sound.createBackend();
  return { ...backend, capabilities: { ...backend.capabilities, readConsumes: true } };
}
