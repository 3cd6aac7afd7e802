// Creates the tables: for development, where nobody has done it before.

import { setTimeout as sleep } from 'node:timers/promises';
import { CreateTableCommand, DescribeTableCommand, UpdateTimeToLiveCommand } from '@aws-sdk/client-dynamodb';
import { errorText, type Logger, type MachineryError } from '@machinery/core';
import { isInUse, isMissing, unavailable } from './errors.ts';
import type { Send } from './requests.ts';

export interface Table {
  readonly name: string;
  readonly key: string;
}

/** How often, and how many times at most, a new table is asked whether it can be used. */
const pollMs = 1_000;
const maxPolls = 60;

/** Creates the table if there is none, waits until it can be used, and has it deleted from what its TTL says is over. */
export async function createTable(send: Send, { name, key }: Table, logger: Logger): Promise<void> {
  let status = await statusOf(send, name);
  const isOurs = status === undefined && (await create(send, name, key));
  for (let polls = 0; status === undefined || status === 'CREATING'; polls++) {
    if (polls === maxPolls) throw unavailable(`DynamoDB is still creating table ${name}`);
    if (polls > 0) await sleep(pollMs);
    status = await statusOf(send, name);
  }
  if (!isOurs) return;
  const TimeToLiveSpecification = { AttributeName: 'TTL', Enabled: true };
  const command = new UpdateTimeToLiveCommand({ TableName: name, TimeToLiveSpecification });
  await send('switch on time to live', (client, options) => client.send(command, options)).catch((error) =>
    logger.warn(`What has expired stays in table ${name}, though nobody reads it: ${errorText(error)}`),
  );
}

/** Undefined: there is no table. */
async function statusOf(send: Send, TableName: string): Promise<string | undefined> {
  const command = new DescribeTableCommand({ TableName });
  try {
    const { Table } = await send(`find table ${TableName}`, (client, options) => client.send(command, options));
    return Table?.TableStatus;
  } catch (error) {
    if (isMissing((error as MachineryError).cause)) return undefined;
    throw error;
  }
}

/** Answers whether it was us: somebody else may be at it. */
async function create(send: Send, TableName: string, key: string): Promise<boolean> {
  const command = new CreateTableCommand({
    TableName,
    AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
    KeySchema: [{ AttributeName: key, KeyType: 'HASH' }],
    BillingMode: 'PAY_PER_REQUEST',
  });
  try {
    await send(`create table ${TableName}`, (client, options) => client.send(command, options));
    return true;
  } catch (error) {
    if (isInUse((error as MachineryError).cause)) return false;
    throw error;
  }
}
