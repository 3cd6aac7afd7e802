// Creates the tables: for development, where nobody has done it before.

import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import type { Logger } from '@machinery/core';
import { backendError, isMissing } from './errors.ts';

export interface Table {
  readonly name: string;
  readonly key: string;
}

/** How long a new table may take, in seconds. */
const maxWaitTime = 60;

/** Creates the table if there is none, and has it deleted from what its TTL says is over. */
export async function createTable(client: DynamoDBClient, { name, key }: Table, logger: Logger): Promise<void> {
  const TableName = name;
  try {
    await client.send(new DescribeTableCommand({ TableName }));
    return;
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  try {
    await client.send(
      new CreateTableCommand({
        TableName,
        AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
        KeySchema: [{ AttributeName: key, KeyType: 'HASH' }],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    );
  } catch (error) {
    if ((error as Error).name !== 'ResourceInUseException') throw error; // somebody else is at it
  }
  await waitUntilTableExists({ client, maxWaitTime, minDelay: 1, maxDelay: 2 }, { TableName });
  const TimeToLiveSpecification = { AttributeName: 'TTL', Enabled: true };
  await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification })).catch((error) => {
    const { message } = backendError('switch on time to live', error);
    logger.warn(`What has expired stays in table ${name}, though nobody reads it: ${message}`);
  });
}
