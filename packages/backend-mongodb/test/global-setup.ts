// One MongoDB for all files that need no server of their own.

import process from 'node:process';
import { mongoServer } from '@machinery/services';

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (process.env.MONGODB_URL) return undefined;
  const mongo = await mongoServer();
  if (mongo === undefined) return undefined;
  process.env.MONGODB_URL = mongo.url; // which `mongoServer` answers from now on
  return () => mongo.stop();
}
