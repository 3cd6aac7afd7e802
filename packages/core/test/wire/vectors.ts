// The test data that running Go Machinery printed (interop/vectors).

import { readFileSync } from 'node:fs';

export function readVectors<T>(name: 'signatures' | 'states' | 'conversions'): T {
  const url = new URL(`../../../../interop/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, 'utf8')) as T;
}
