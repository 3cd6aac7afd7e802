// The adapters of adapters.mjs with one defect, which MACHINERY_MEMORY_DEFECT names: what the failpoints have to find.

import { stored } from '@machinery/core';
import * as sound from './adapters.mjs';

const laterMs = 200;

const defects = {
  'acks at take': {
    async taken(deliveries, consumer) {
      await consumer.settle(deliveries.map((delivery) => ({ kind: 'ack', delivery })));
    },
  },
  'forgets redelivered': {
    taken(deliveries) {
      for (const delivery of deliveries) delivery.redelivered = false;
    },
  },
  'never acks': {
    consumer(consumer) {
      const exchange = consumer.exchange.bind(consumer);
      consumer.exchange = (_, want, signal) => exchange([], want, signal);
      consumer.settle = async () => {};
    },
  },
  'publishes later': {
    broker(broker) {
      const publish = broker.publish.bind(broker);
      broker.publish = async (messages) => {
        setTimeout(() => publish(messages), laterMs);
        return messages.map(() => stored);
      };
    },
  },
  'publishes twice': {
    broker(broker) {
      const publish = broker.publish.bind(broker);
      broker.publish = (messages) => publish(messages).then(() => publish(messages));
    },
  },
  'stores later': {
    backend(backend) {
      const write = backend.write.bind(backend);
      backend.write = async (writes) => {
        setTimeout(() => write(writes), laterMs);
        return writes.map(() => stored);
      };
    },
  },
  'flags a chord when it is claimed': {
    backend(backend) {
      const claimChord = backend.claimChord.bind(backend);
      backend.claimChord = async (group, member) => {
        const claim = await claimChord(group, member);
        await backend.finishChord(group);
        return claim;
      };
    },
  },
  'gives the claim once': {
    backend(backend) {
      const claimChord = backend.claimChord.bind(backend);
      backend.claimChord = (group, member) => claimChord(group, `${member} of ${process.pid}`);
    },
  },
};

const defectOfNow = () => defects[process.env.MACHINERY_MEMORY_DEFECT];

export function createBroker() {
  const [broker, defect] = [sound.createBroker(), defectOfNow()];
  defect.broker?.(broker);
  const consume = broker.consume.bind(broker);
  broker.consume = async (options) => {
    const consumer = await consume(options);
    defect.consumer?.(consumer);
    const exchange = consumer.exchange.bind(consumer);
    consumer.exchange = async (settled, want, signal) => {
      const deliveries = await exchange(settled, want, signal);
      await defect.taken?.(deliveries, consumer);
      return deliveries;
    };
    return consumer;
  };
  return broker;
}

export function createBackend() {
  const backend = sound.createBackend();
  defectOfNow().backend?.(backend);
  return backend;
}
