// Bodies as SQS takes them: which characters, and how many bytes they are.

import type { MessageAttributeValue } from '@aws-sdk/client-sqs';

export type Attributes = Readonly<Record<string, MessageAttributeValue>>;

/** All but the characters that SQS takes: #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF. */
const refused = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

/** The same JSON, in which what SQS refuses (U+FFFE, U+FFFF, lone surrogates) is escaped. */
export function escapeRefused(body: string): string {
  return body.replace(refused, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A text of which nobody reads more than its sense, for an attribute: those must not be empty. */
export function attributeText(text: string, maxLength: number): string {
  const shown = text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
  return shown.replace(refused, '\ufffd') || '-';
}

export function textAttribute(value: string): MessageAttributeValue {
  return { DataType: 'String', StringValue: value };
}

/** What counts for the service's limit: the body, and names, types and values of attributes. */
export function bytesOf(body: string, attributes: Attributes = {}): number {
  let bytes = Buffer.byteLength(body);
  for (const [name, { DataType = '', StringValue = '', BinaryValue }] of Object.entries(attributes))
    bytes += Buffer.byteLength(name + DataType + StringValue) + (BinaryValue?.length ?? 0);
  return bytes;
}
