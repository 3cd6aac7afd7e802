// One server for all files that need none of their own.

import process from 'node:process';
import { pubsubServer } from '@machinery/services';

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (process.env.PUBSUB_EMULATOR_HOST) return undefined;
  const pubsub = await pubsubServer();
  if (pubsub === undefined) return undefined;
  process.env.PUBSUB_EMULATOR_HOST = pubsub.host; // which `pubsubServer` answers from now on
  return () => pubsub.stop();
}
