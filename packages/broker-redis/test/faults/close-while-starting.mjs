// Closes a broker while it starts to consume: the process ends by itself, as nothing is left.

import { RedisBroker } from '@machinery/broker-redis';

const [, , url] = process.argv;
const broker = new RedisBroker({ url });
await broker.publish([]);
const consuming = broker.consume({ queue: 'any', tag: 'worker', slots: 1, maxInHand: 1 }).then(
  () => 'consumes',
  (error) => error.code,
);
await broker.close();
if ((await consuming) !== 'ERR_MACHINERY_CLOSED') process.exit(2);
