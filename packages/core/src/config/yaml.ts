// Go's YAML files, of any length. What stands in them decides on kinds as Go's parser (yaml.v2) does: YAML 1.1, in which `yes` is
// true, while a number is as good a text as any.

import { closest } from 'fastest-levenshtein';
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Pair, parseDocument, type Scalar } from 'yaml';
import { invalidOption, show } from '../options.ts';
import { type Config, configOf, type Section, type Setting, schema } from './config.ts';

export interface YamlOptions {
  /** For error messages. */
  readonly file: string;
  /** Replaces `${NAME}` in texts by these variables. Default: it is text like any other. */
  readonly variables?: Readonly<Record<string, string | undefined>> | undefined;
  /** Told of keys that nobody knows. */
  readonly warn: (text: string) => void;
}

/** @throws MachineryError ERR_MACHINERY_INVALID_OPTION with file, line and key. */
export function configOfYaml(text: string, options: YamlOptions): Config {
  return new Reader(text, options).read();
}

class Reader {
  readonly #options: YamlOptions;
  readonly #lines = new LineCounter();
  readonly #document: ReturnType<typeof parseDocument>;
  /** What stands in the file. */
  readonly #found = new Map<Setting, unknown>();

  constructor(text: string, options: YamlOptions) {
    this.#options = options;
    // Go keeps the last of two equal keys
    this.#document = parseDocument(text, {
      version: '1.1',
      lineCounter: this.#lines,
      uniqueKeys: false,
      prettyErrors: false,
      // In which 12:30 is a number, for Go a text
      customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || tag.format !== 'TIME'),
    });
  }

  read(): Config {
    const [error] = this.#document.errors;
    if (error !== undefined) throw this.#wrong(error.pos[0], error.message);
    const { contents } = this.#document;
    if (contents !== null && !(isScalar(contents) && contents.value === null)) this.#section(contents, schema, []);
    return configOf((setting) => this.#found.get(setting));
  }

  #section(node: unknown, section: Section, path: readonly string[]): void {
    const resolved = this.#resolved(node);
    if (!isMap(resolved)) throw this.#wrong(offsetOf(node), `expected keys and values${at(path)}`);
    const settings = byKey(section.settings);
    const sections = byKey(section.sections);
    const named = resolved.items.map((pair) => ({ pair, key: nameOf(pair) }));
    const merged = named.filter(({ key }) => key === '<<').map(({ pair }) => this.#resolved(pair.value));
    for (const base of merged.flatMap((one) => (isSeq(one) ? one.items : [one]))) this.#section(base, section, path);
    for (const { pair, key } of named) {
      if (key === '<<') continue;
      const place = [...path, key];
      const setting = settings.get(key);
      const inner = sections.get(key);
      if (inner !== undefined) {
        if (!isNull(this.#resolved(pair.value))) this.#section(pair.value, inner, place);
      } else if (setting !== undefined) this.#found.set(setting, this.#value(pair.value, setting, place));
      else this.#unknown(pair, place, [...settings.keys(), ...sections.keys()]);
    }
  }

  #unknown({ key }: Pair, place: readonly string[], known: readonly string[]): void {
    const name = place.at(-1) as string;
    const nearest = [...place.slice(0, -1), closest(name, known)].join('.');
    const { file, warn } = this.#options;
    warn(`${file}:${this.#line(offsetOf(key))}: unknown key \`${place.join('.')}\`: did you mean \`${nearest}\`?`);
  }

  /** undefined: the default. */
  #value(node: unknown, setting: Setting, place: readonly string[]): unknown {
    const resolved = this.#resolved(node);
    if (isNull(resolved)) return undefined;
    if (setting.kind === 'arguments') {
      if (!isMap(resolved)) throw this.#wrong(offsetOf(node), `expected ${expected.arguments}${at(place)}`);
      return Object.fromEntries(resolved.items.map((pair) => [nameOf(pair), this.#argument(pair.value)]));
    }
    if (!isScalar(resolved)) throw this.#wrong(offsetOf(node), `expected ${expected[setting.kind]}${at(place)}`);
    return this.#scalar(resolved, setting, place);
  }

  #scalar(node: Scalar, { kind, values }: Setting, place: readonly string[]): unknown {
    const { value, source } = node;
    if (kind === 'string') {
      const text = this.#expanded(typeof value === 'string' ? value : (source ?? String(value)));
      if (values?.includes(text) !== false) return text;
      throw this.#wrong(offsetOf(node), `expected one of ${values.join(', ')}${at(place)}, got ${show(text)}`);
    }
    const plain = this.#plain(value);
    const fits =
      kind === 'boolean' ? typeof plain === 'boolean' : Number.isSafeInteger(plain) && (plain as number) >= 0;
    if (fits) return plain;
    throw this.#wrong(offsetOf(node), `expected ${expected[kind]}${at(place)}, got ${show(value)}`);
  }

  /** A number or a boolean that comes from a variable is one. */
  #plain(value: unknown): unknown {
    const text = typeof value === 'string' ? this.#expanded(value) : value;
    return text !== value && /^(\d{1,15}|true|false)$/.test(text as string) ? JSON.parse(text as string) : value;
  }

  /** Of AMQP: a scalar, or a list or table of them. */
  #argument(node: unknown): unknown {
    const value = isNode(node) ? node.toJS(this.#document) : node;
    return typeof value === 'string' ? this.#expanded(value) : value;
  }

  #expanded(text: string): string {
    const { variables, file } = this.#options;
    if (variables === undefined) return text;
    return text.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => {
      const value = variables[name];
      if (value === undefined) throw invalidOption(`${file}: environment variable ${name} is not set`);
      return value;
    });
  }

  #resolved(node: unknown): unknown {
    if (!isAlias(node)) return node;
    const anchored = node.resolve(this.#document);
    if (anchored === undefined) throw this.#wrong(offsetOf(node), `nothing has the anchor of \`*${node.source}\``);
    return anchored;
  }

  #line(offset: number): number {
    return this.#lines.linePos(offset).line;
  }

  #wrong(offset: number, text: string): Error {
    return invalidOption(`${this.#options.file}:${this.#line(offset)}: ${text}`);
  }
}

const expected = {
  string: 'a text',
  integer: 'an integer >= 0',
  boolean: 'true or false',
  arguments: 'keys and values',
} as const;

function at(path: readonly string[]): string {
  return path.length === 0 ? '' : ` for \`${path.join('.')}\``;
}

function offsetOf(node: unknown): number {
  return (node as { range?: [number, number, number] | null } | null)?.range?.[0] ?? 0;
}

function isNull(node: unknown): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null);
}

function nameOf({ key }: Pair): string {
  return String(isScalar(key) ? (key.source ?? key.value) : key);
}

function byKey<T extends { readonly key: string }>(parts: Readonly<Record<string, T>>): Map<string, T> {
  return new Map(Object.values(parts).map((part) => [part.key, part]));
}
