// A worker of the fault tests, in a process of its own. It tells its parent what it takes and begins, and what goes wrong.
// One that `diesOnClaim` acks nothing, and is killed when it has claimed the callback of a chord.

import process from 'node:process';
import { RedisBackend } from '@machinery/backend-redis';
import { RedisBroker } from '@machinery/broker-redis';
import { Server, silentLogger } from '@machinery/core';

const { connection, broker: options, queue, worker } = JSON.parse(process.argv[2]);
const { name, diesOnClaim = false, ...how } = worker;
const tell = (report) => new Promise((resolve) => process.send(report, resolve));
const orphaned = () => process.exit(1);
process.once('disconnect', orphaned);
const released = new Promise((resolve) => process.once('message', resolve));

const broker = new RedisBroker({ ...connection, ...options });
const consume = broker.consume.bind(broker);
broker.consume = async (how) => {
  const consumer = await consume(how);
  const exchange = consumer.exchange.bind(consumer);
  if (diesOnClaim) consumer.settle = async () => {};
  consumer.exchange = async (settled, ...args) => {
    const deliveries = await exchange(diesOnClaim ? [] : settled, ...args);
    for (const { redelivered, deliveryCount } of deliveries) tell({ event: 'take', redelivered, deliveryCount });
    return deliveries;
  };
  return consumer;
};

const backend = new RedisBackend(connection);
const claim = backend.claimChord.bind(backend);
backend.claimChord = async (...args) => {
  const claimed = await claim(...args);
  if (diesOnClaim) process.kill(process.pid, 'SIGKILL');
  return claimed;
};

const logger = { ...silentLogger, warn: (text) => tell({ event: 'warn', text }) };
const server = new Server({ broker, backend, defaultQueue: queue, logger });

const tasks = {
  work: (n) => n,
  hold: async () => {
    await released;
    return name;
  },
  block: (ms) => {
    const until = performance.now() + ms;
    while (performance.now() < until);
    return name;
  },
  poison: () => process.kill(process.pid, 'SIGKILL'),
  told: (text) => text,
};
for (const [task, run] of Object.entries(tasks)) {
  server.registerTask(task, async (...args) => {
    await tell({ event: 'begin', task, args });
    return run(...args);
  });
}

const running = server.newWorker(name, { ...how, errorHandler: ({ code }) => tell({ event: 'error', code }) });
const launched = running.launch();
await running.start();
await tell({ event: 'ready' });
await launched;
await server.close();
process.off('disconnect', orphaned).disconnect();
