// A config file, and its changes. Reading again is by the clock and not by the file system's events: those miss what replaces a
// file, or a link to it, as deployments do.

import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, MachineryError } from '../errors.ts';
import { consoleLogger, type Logger } from '../logger.ts';
import { boolean, checkOptions, invalidOption, object, optional, string, timerMs } from '../options.ts';
import type { Config } from './config.ts';
import { configOfYaml } from './yaml.ts';

export interface YamlFileOptions {
  /** Reads the file again every 10 s. Default: false. */
  readonly reload?: boolean;
  /** How often, in milliseconds. Default: 10,000, as in Go. */
  readonly reloadEveryMs?: number;
  /** `${NAME}` in a value stands for that environment variable. Default: false, as in Go. */
  readonly expandVariables?: boolean;
  /** Told of unknown keys, changes, and of a file that became bad. Default: `console`, from warnings up. */
  readonly logger?: Logger;
}

/** @param changed the paths of what is different: `['resultsExpireIn', 'amqp.prefetchCount']`. */
export type ConfigListener = (config: Config, changed: readonly string[]) => void;

/** A config whose settings are those that the file has now, or had when it was last a good one. */
export interface ConfigFile extends Config, Disposable {
  /** Calls `listener` after each change. Answers a function that stops that. */
  onChange(listener: ConfigListener): () => void;
  /** Reads the file no more. */
  close(): void;
}

/**
 * The config in a YAML file of Go Machinery's, with its defaults. An unknown key is a warning.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION with file, line and key; and for a file that cannot be read.
 */
export function configFromYaml(path: string, options: YamlFileOptions = {}): ConfigFile {
  if (string(path) !== undefined) throw invalidOption(`configFromYaml: expected a path, got ${String(path)}`);
  checkOptions('configFromYaml', options, {
    reload: optional(boolean),
    reloadEveryMs: optional(timerMs({ min: 1 })),
    expandVariables: optional(boolean),
    logger: optional(object),
  });
  return new WatchedFile(path, options) as unknown as ConfigFile;
}

/** How long a file must stay the same before it is taken over, in milliseconds. */
const settlingMs = 50;

class WatchedFile {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #expandVariables: boolean;
  readonly #listeners = new Set<ConfigListener>();
  #text: string;
  #config: Config;
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;
  /** It could not be read, which was told. */
  #isAway = false;

  constructor(path: string, options: YamlFileOptions) {
    const { reload = false, reloadEveryMs = 10_000, expandVariables = false, logger = consoleLogger } = options;
    this.#path = path;
    this.#logger = logger;
    this.#expandVariables = expandVariables;
    try {
      this.#text = readFileSync(path, 'utf8');
    } catch (cause) {
      throw invalidOption(`The config file cannot be read: ${errorText(cause)}`);
    }
    this.#config = this.#parse(this.#text);
    for (const name of Object.keys(this.#config) as (keyof Config)[])
      Object.defineProperty(this, name, { enumerable: true, get: () => this.#config[name] });
    if (reload) this.#timer = setInterval(() => void this.#reload(), reloadEveryMs).unref();
  }

  onChange(listener: ConfigListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #parse(text: string): Config {
    return configOfYaml(text, {
      file: this.#path,
      variables: this.#expandVariables ? process.env : undefined,
      warn: (warning) => this.#logger.warn(warning),
    });
  }

  async #reload(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const text = await this.#read();
      this.#isAway = false;
      if (text === this.#text) return;
      this.#text = text; // a bad one is told of once
      const before = this.#config;
      this.#config = this.#parse(text);
      this.#changed(changesOf(before, this.#config));
    } catch (error) {
      const isKnown = this.#isAway;
      this.#isAway = !MachineryError.is(error);
      if (!isKnown || !this.#isAway)
        this.#logger.warn(`${this.#path} was not taken over, the settings from before stay: ${errorText(error)}`);
    } finally {
      this.#isReading = false;
    }
  }

  /** What is being written is half there: it is read until it stays as it is. */
  async #read(): Promise<string> {
    let text = await readFile(this.#path, 'utf8');
    while (text !== this.#text) {
      const before = text;
      await sleep(settlingMs, undefined, { ref: false });
      text = await readFile(this.#path, 'utf8');
      if (text === before) break;
    }
    return text;
  }

  #changed(changed: readonly string[]): void {
    if (changed.length === 0) return;
    this.#logger.info(`${this.#path} has changed: ${changed.join(', ')}`);
    for (const listener of this.#listeners) listener(this.#config, changed);
  }
}

/** Paths of settings that differ. */
function changesOf(before: object, after: object, path: readonly string[] = []): string[] {
  return Object.entries(after).flatMap(([name, value]) => {
    const old = (before as Record<string, unknown>)[name];
    const place = [...path, name];
    if (JSON.stringify(old) === JSON.stringify(value)) return [];
    const isSection = path.length === 0 && typeof value === 'object';
    return isSection ? changesOf(old as object, value as object, place) : [place.join('.')];
  });
}
