// The test data that running Go Machinery printed (interop/vectors).

import { readFileSync } from 'node:fs';

type VectorsName = 'signatures' | 'states' | 'conversions' | 'cron' | 'cron-specs' | 'cron-zones';

export function readVectors<T>(name: VectorsName): T {
  const url = new URL(`../../../../interop/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, 'utf8')) as T;
}
