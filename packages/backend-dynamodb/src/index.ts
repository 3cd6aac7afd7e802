// What @machinery/backend-dynamodb exports.

export { DynamoBackend } from './dynamo-backend.ts';
export type { DynamoBackendOptions } from './options.ts';
