// Results as attributes. Go stores the text of each (`%v`) and then refuses all that are not strings; ours have the attribute
// that Go can read, where there is one. Reading goes by the result's type, as text may be Go's or ours.

import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { MachineryError } from '@machinery/core';

/** What DynamoDB's numbers hold, beside 0: smaller and larger ones are text. */
const smallestNumber = 1e-130;
const largestNumber = 9.99e125;

/** @throws MachineryError ERR_MACHINERY_BACKEND_FAILED for what no wire type has. */
export function encodeValue(value: unknown): AttributeValue {
  switch (typeof value) {
    case 'string':
      return { S: value };
    case 'boolean':
      return { BOOL: value };
    case 'number':
      if (Number.isFinite(value)) return isNumber(value) ? { N: String(value) } : { S: String(value) };
      break;
    case 'bigint':
      // Go would round it on its way into the arguments of a callback; a text it refuses
      return Number.isSafeInteger(Number(value)) ? { N: String(value) } : { S: String(value) };
    case 'undefined':
      return { NULL: true };
    case 'object':
      if (value === null) return { NULL: true };
      if (Array.isArray(value)) return { L: value.map(encodeValue) };
      break;
  }
  const found = typeof value === 'object' ? Object.prototype.toString.call(value) : String(value);
  throw new MachineryError('ERR_MACHINERY_BACKEND_FAILED', `A result cannot be stored: ${found} is of no wire type`);
}

function isNumber(value: number): boolean {
  const size = Math.abs(value);
  return size === 0 || (size >= smallestNumber && size <= largestNumber);
}

/** What is stored, as JSON holds a value of the type. What is none of the type stays text, for core to refuse. */
export function decodeValue(type: string, attribute: AttributeValue | undefined): unknown {
  if (attribute === undefined || attribute.NULL !== undefined) return null;
  if (attribute.BOOL !== undefined) return attribute.BOOL;
  if (attribute.L !== undefined) return attribute.L.map((element) => decodeValue(type.replace(/^\[\]/, ''), element));
  // DynamoDB writes out all digits of 1e+21
  if (attribute.N !== undefined) return isFloat(type) ? Number(attribute.N) : parseNumber(attribute.N);
  if (attribute.S !== undefined)
    return type.startsWith('[]') ? parseSlice(type, attribute.S) : parse(type, attribute.S);
  throw new TypeError(`A result of type ${type} is stored as ${Object.keys(attribute).join()}`);
}

/** Whether Go stored a slice whose elements may have been more or less than what is read. */
export function isAmbiguous(type: string, attribute: AttributeValue | undefined): boolean {
  return type === '[]string' && attribute?.S !== undefined;
}

function parse(type: string, text: string): unknown {
  if (/^u?int\d*$/.test(type) && /^-?\d{1,20}$/.test(text)) return parseNumber(text);
  if (isFloat(type) && Number.isFinite(Number(text)) && text.trim() !== '') return Number(text);
  if (type === 'bool' && (text === 'true' || text === 'false')) return text === 'true';
  return text === '<nil>' && type !== 'string' ? null : text;
}

function isFloat(type: string): boolean {
  return type === 'float64' || type === 'float32';
}

function parseNumber(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) || !/^-?\d+$/.test(text) ? number : BigInt(text);
}

/** A text is Go's `[1 2 3]`, or our base64. */
function parseSlice(type: string, text: string): unknown {
  if (!text.startsWith('[') || !text.endsWith(']')) return text;
  const inside = text.slice(1, -1);
  const elementType = type.slice(2);
  const elements = inside === '' ? [] : inside.split(' ').map((element) => parse(elementType, element));
  return elementType === 'byte' || elementType === 'uint8'
    ? Buffer.from(elements as number[]).toString('base64')
    : elements;
}
