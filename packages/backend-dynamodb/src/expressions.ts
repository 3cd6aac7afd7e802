// The expressions of conditional writes: `#Name` is an attribute, `:Name` what it is set to or compared with. DynamoDB refuses
// names and values that an expression does not use.

import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import type { Item } from './items.ts';

export interface Change {
  readonly set: Item;
  readonly remove?: readonly string[];
  /** May use what is set, and `:now`, `:zero`, `:true`, `:SUCCESS`, `:FAILURE`. */
  readonly condition: string;
}

/** There, and not expired: 0 is Go's for no time. */
export function isLive(key: string): string {
  return `attribute_exists(#${key}) AND (attribute_not_exists(#TTL) OR #TTL = :zero OR #TTL > :now)`;
}

/** What is there under a key is still what was read of it, in these attributes. */
export function isUnchanged(key: string, before: Item | undefined, names: readonly string[]): Written {
  if (before === undefined) return { ConditionExpression: `attribute_not_exists(#${key})`, ...used(`#${key}`, {}) };
  const parts = names.map((name) =>
    before[name] === undefined ? `attribute_not_exists(#${name})` : `#${name} = :${name}`,
  );
  const ConditionExpression = parts.join(' AND ');
  return { ConditionExpression, ...used(ConditionExpression, before) };
}

interface Written {
  readonly ConditionExpression: string;
  readonly ExpressionAttributeNames: Record<string, string>;
  readonly ExpressionAttributeValues?: Record<string, AttributeValue>;
}

export function changeOf({ set, remove = [], condition }: Change): Written & { readonly UpdateExpression: string } {
  const setting = Object.keys(set).map((name) => `#${name} = :${name}`);
  const removing = remove.length === 0 ? '' : ` REMOVE ${remove.map((name) => `#${name}`).join(', ')}`;
  const UpdateExpression = `SET ${setting.join(', ')}${removing}`;
  return { UpdateExpression, ConditionExpression: condition, ...used(`${UpdateExpression} ${condition}`, set) };
}

function used(expressions: string, item: Item) {
  const values: Item = {
    ...item,
    now: { N: String(Date.now() / 1_000) },
    zero: { N: '0' },
    true: { BOOL: true },
    SUCCESS: { S: 'SUCCESS' },
    FAILURE: { S: 'FAILURE' },
  };
  const named = [...expressions.matchAll(/#(\w+)/g)].map(([, name = '']) => [`#${name}`, name] as const);
  const valued = [...expressions.matchAll(/:(\w+)/g)].map(
    ([, name = '']) => [`:${name}`, values[name] as AttributeValue] as const,
  );
  return {
    ExpressionAttributeNames: Object.fromEntries(named),
    ...(valued.length > 0 && { ExpressionAttributeValues: Object.fromEntries(valued) }),
  };
}
