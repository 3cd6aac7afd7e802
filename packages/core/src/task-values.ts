// The arguments and results of declared tasks, to and from the wire. Neighbours: `task.ts` encodes arguments when a task is
// called, `registry.ts` decodes them for the handler, `server.ts` decodes results.

import { MachineryError } from './errors.ts';
import { show } from './options.ts';
import type { Arg } from './signature.ts';
import type { ArgsSpec, ReturnsSpec } from './task.ts';
import type { TaskResult } from './task-state.ts';
import type { AnyType } from './task-types.ts';
import { fromWireValue, isWireType } from './wire/argument-types.ts';

/** The arguments of a delivered signature, as the handler of a declared task gets them. */
export function decodeArgs(spec: ArgsSpec, args: readonly Arg[]): unknown[] {
  const { fixed, rest } = positions(spec);
  if (args.length < fixed.length || (rest === undefined && args.length > fixed.length)) {
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `expected ${rest ? 'at least ' : ''}${fixed.length} argument(s), got ${args.length}`,
    );
  }
  return args.map((arg, i) => decodeArg(fixed[i] ?? (rest as AnyType), arg));
}

/** What `get` gives for stored results. */
export function decodeResults(returns: ReturnsSpec, results: readonly TaskResult[]): unknown {
  if (returns === undefined) return undefined;
  const types = [returns].flat() as readonly AnyType[];
  if (types.length !== results.length)
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `expected ${types.length} result(s), got ${results.length}`,
    );
  const values = types.map((type, i) => decodeArg(type, results[i] as TaskResult));
  return Array.isArray(returns) ? values : values[0];
}

/** What a handler returned, as stored results. */
export function encodeResults(returns: ReturnsSpec, returned: unknown): TaskResult[] {
  if (returns === undefined) return [];
  if (!Array.isArray(returns))
    return [{ type: (returns as AnyType).wire, value: (returns as AnyType).encode(returned) }];
  if (!Array.isArray(returned) || returned.length !== returns.length) {
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `expected the task to return an array of ${returns.length} results, got ${show(returned)}`,
    );
  }
  return returns.map((type: AnyType, i) => ({ type: type.wire, value: type.encode(returned[i]) }));
}

/** The arguments of a call, checked; `complete` when none may be missing. */
export function encodeArgs(name: string, spec: ArgsSpec, values: readonly unknown[], complete: boolean): Arg[] {
  const { fixed, rest } = positions(spec);
  if ((complete && values.length < fixed.length) || (rest === undefined && values.length > fixed.length)) {
    throw new MachineryError(
      'ERR_MACHINERY_INVALID_ARGUMENT',
      `Task ${name} takes ${rest ? 'at least ' : ''}${fixed.length} argument(s), got ${values.length}`,
    );
  }
  return values.map((value, i) => {
    const type = fixed[i] ?? (rest as AnyType);
    try {
      return { type: type.wire, value: type.encode(value) };
    } catch (cause) {
      throw new MachineryError(
        'ERR_MACHINERY_INVALID_ARGUMENT',
        `Argument ${i + 1} of task ${name}: ${withKind((cause as Error).message, value)}`,
        { cause },
      );
    }
  });
}

/** Go's text for a wrong type, which does not tell '995' from 995. */
function withKind(text: string, value: unknown): string {
  if (!/ is not \S+$/.test(text)) return text;
  if (value === undefined) return `${text} (it is undefined)`;
  return typeof value === 'string' ? `${text} (it is a string)` : text;
}

/** Numbers pass between number types as long as the value fits; every other type must be the declared one. */
function decodeArg(type: AnyType, { type: sent, value }: { readonly type: string; readonly value: unknown }): unknown {
  if (sent === type.wire || family(sent) === family(type.wire)) return type.decode(value);
  fromWireValue(sent, value); // Go: first what is wrong with the argument itself
  throw new MachineryError(
    'ERR_MACHINERY_INVALID_ARGUMENT',
    `${show(value)} was sent as ${sent}, the task takes ${type.wire}`,
  );
}

function family(wire: string): string {
  if (wire === '[]byte') return '[]uint8';
  if (wire === '[]uint8' || !isWireType(wire)) return wire;
  return wire.replace(/u?int\d*|float\d+/, 'number');
}

function positions(spec: ArgsSpec): { fixed: readonly AnyType[]; rest: AnyType | undefined } {
  if ('rest' in spec) return { fixed: [], rest: spec.rest };
  const last = spec.at(-1);
  if (last !== undefined && 'rest' in last) return { fixed: spec.slice(0, -1) as AnyType[], rest: last.rest };
  return { fixed: spec as readonly AnyType[], rest: undefined };
}
