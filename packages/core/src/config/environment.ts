// Go's environment variables.

import process from 'node:process';
import { invalidOption, show } from '../options.ts';
import { type Config, configOf, type Setting } from './config.ts';

/** What Go's strconv.ParseBool takes. */
const booleans = new Map([
  ...['1', 't', 'T', 'true', 'TRUE', 'True'].map((text) => [text, true] as const),
  ...['0', 'f', 'F', 'false', 'FALSE', 'False'].map((text) => [text, false] as const),
]);

/**
 * The config that environment variables say, under the names that Go Machinery reads, with its defaults. Maps of arguments are
 * `key:value,key:value`.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION for a value of the wrong kind.
 */
export function configFromEnvironment(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  return configOf((setting) => {
    const variable = setting.variables.find((name) => environment[name] !== undefined);
    return variable === undefined ? undefined : valueIn(setting, variable, environment[variable] as string);
  });
}

function valueIn({ kind, values }: Setting, variable: string, text: string): unknown {
  if (values?.includes(text) === false) return wrong(variable, `one of ${values.join(', ')}`, text);
  if (kind === 'string') return text;
  if (kind === 'boolean') return booleans.get(text) ?? wrong(variable, 'true or false', text);
  if (kind === 'integer')
    return /^\+?(0|[1-9]\d*)$/.test(text) ? Number(text) : wrong(variable, 'an integer >= 0', text);
  return argumentsOf(variable, text);
}

/** Numbers and booleans among the arguments are such: RabbitMQ wants `x-max-priority` as a number. */
function argumentsOf(variable: string, text: string): Record<string, unknown> {
  const pairs = text.split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const [key = '', value, ...more] = pair.split(':');
      if (key === '' || value === undefined || more.length > 0) return wrong(variable, 'pairs as in `a:1,b:2`', pair);
      return [key, scalarOf(variable, value)];
    }),
  );
}

function scalarOf(variable: string, text: string): unknown {
  if (variable === 'AMQP_QUEUE_BINDING_ARGS') return text; // as Go has it: headers are compared with their types
  if (/^-?\d{1,15}$/.test(text)) return Number(text);
  return text === 'true' ? true : text === 'false' ? false : text;
}

function wrong(variable: string, expected: string, text: string): never {
  throw invalidOption(`Environment variable ${variable}: expected ${expected}, got ${show(text)}`);
}
