// The options of the backend: their checks, and what they are where they are absent.

import type { DynamoDBClient, DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import {
  booleanOption,
  type Check,
  checkOptions,
  integerOption,
  MachineryError,
  objectOption,
  optionalOption,
  stringOption,
} from '@machinery/core';

export interface DynamoBackendOptions {
  /** Default: what the SDK finds (AWS_REGION, its files). */
  readonly region?: string;
  /** Default: what the SDK finds (the environment, its files, the role of the container or the machine). */
  readonly credentials?: NonNullable<DynamoDBClientConfig['credentials']>;
  /** The address of the service, of an emulator say. Default: that of the region. */
  readonly endpoint?: string;
  /** In place of the three before. It is not closed. */
  readonly client?: DynamoDBClient;
  /** The table of states, with the key `TaskUUID`. Go: TaskStatesTable. Default: `task_states`. */
  readonly taskStatesTable?: string;
  /** The table of groups, with the key `GroupUUID`. Go: GroupMetasTable. Default: `group_metas`. */
  readonly groupMetasTable?: string;
  /** Creates tables that are not there, paid by request, with the first call: for development. Default: false. */
  readonly createTables?: boolean;
  /** How many requests are under way at once. The SDK's own clients have 50 sockets. Default: 25. */
  readonly maxRequests?: number;
  /** How long a request may take, with what the SDK tries again, in milliseconds. Default: 10,000. */
  readonly requestTimeoutMs?: number;
}

/** Options with all defaults. */
export type ResolvedOptions = DynamoBackendOptions & Required<Pick<DynamoBackendOptions, keyof typeof defaults>>;

const defaults = {
  taskStatesTable: 'task_states',
  groupMetasTable: 'group_metas',
  createTables: false,
  maxRequests: 25,
  requestTimeoutMs: 10_000,
} as const;

const url: Check = (value) =>
  typeof value === 'string' && /^https?:\/\/[^/\s]+/.test(value) ? undefined : 'a URL with http:// or https://';
const credentials: Check = (value) =>
  typeof value === 'function' || objectOption(value) === undefined ? undefined : 'credentials or a function';
const client: Check = (value) =>
  typeof (value as { send?: unknown } | null)?.send === 'function' ? undefined : 'a DynamoDBClient';

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
export function resolveOptions(options: DynamoBackendOptions): ResolvedOptions {
  checkOptions('DynamoBackend', maskedCredentials(options), {
    region: optionalOption(stringOption),
    credentials: optionalOption(credentials),
    endpoint: optionalOption(url),
    client: optionalOption(client),
    taskStatesTable: optionalOption(stringOption),
    groupMetasTable: optionalOption(stringOption),
    createTables: optionalOption(booleanOption),
    maxRequests: optionalOption(integerOption({ min: 1, max: 1_000 })),
    requestTimeoutMs: optionalOption(integerOption({ min: 1, max: 2 ** 31 - 1 })),
  });
  for (const name of ['region', 'credentials', 'endpoint'] as const)
    if (options.client !== undefined && options[name] !== undefined)
      throw invalid(`\`${name}\` is that of \`client\`: give one of the two`);
  const resolved = { ...defaults, ...given(options) };
  if (resolved.taskStatesTable === resolved.groupMetasTable)
    throw invalid('expected `taskStatesTable` and `groupMetasTable` to be two tables: their keys differ');
  return resolved;
}

/** Errors show wrong options, and these must not be shown. */
function maskedCredentials(options: DynamoBackendOptions): DynamoBackendOptions {
  if (objectOption(options) !== undefined || typeof options.credentials !== 'string') return options;
  return { ...options, credentials: 'a text' as never };
}

function given(options: DynamoBackendOptions): DynamoBackendOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function invalid(what: string): MachineryError {
  return new MachineryError('ERR_MACHINERY_INVALID_OPTION', `DynamoBackend: ${what}`);
}
