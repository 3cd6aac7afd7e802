// The stack that the command line names.

import process from 'node:process';
import { type Config, configFromEnvironment } from '@machinery/core/config';

/** What the command line says about it. */
export interface AdapterFlags {
  readonly broker: string;
  readonly backend: string;
  /** AMQP: the exchange, and the key that the default queue is bound with. */
  readonly exchange: string;
  readonly binding: string;
}

/** Emulators of AWS want a region and credentials, and do not look at them. */
Object.assign(process.env, {
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  ...process.env,
});

export function configOf({ broker, backend, exchange, binding: bindingKey }: AdapterFlags): Config {
  const config = configFromEnvironment({});
  return {
    ...config,
    broker,
    resultBackend: backend,
    amqp: { ...config.amqp, exchange, bindingKey, prefetchCount: 0 },
    sqs: { ...config.sqs, receiveWaitTimeSeconds: 1 },
    dynamodb: { ...config.dynamodb, createTables: true },
  };
}
