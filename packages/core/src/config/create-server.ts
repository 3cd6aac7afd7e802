// A server as a config says, which follows the config's changes as far as that can be done while it runs.

import { eachLevel, type Logger } from '../logger.ts';
import { checkOptions, fn, invalidOption, object, optional, string } from '../options.ts';
import { Server, type ServerOptions } from '../server.ts';
import { type CreateOptions, createBackend, createBroker, createLock, liveSettings } from './adapters.ts';
import type { Config } from './config.ts';
import type { ConfigFile } from './file.ts';
import { withoutSecrets } from './secrets.ts';

/** What a config cannot say. */
export type CreateServerOptions = CreateOptions &
  Pick<ServerOptions, 'programName' | 'logger' | 'telemetry' | 'prePublishHandler'>;

const levels = ['debug', 'info', 'warn', 'error'] as const;

/**
 * Makes broker, backend and lock as `config` says, and a server with them. Changes of a file that is read again take effect where they
 * can (`logLevel`, `resultsExpireIn`, poll periods, prefetch); of others a warning says that they need a restart.
 * @throws MachineryError ERR_MACHINERY_INVALID_OPTION
 */
export async function createServer(config: Config | ConfigFile, options: CreateServerOptions = {}): Promise<Server> {
  checkOptions('createServer', options, {
    import: optional(fn),
    programName: optional(string),
    logger: optional(object),
    telemetry: optional(object),
    prePublishHandler: optional(fn),
  });
  const { import: from, ...rest } = options;
  const how: CreateOptions = from === undefined ? {} : { import: from };
  const console = new LeveledLogger(config.logLevel);
  const [broker, backend, lock] = await Promise.all([
    createBroker(config, how),
    createBackend(config, how),
    createLock(config, how),
  ]);
  const server = new ConfiguredServer(config, console, {
    broker,
    backend,
    ...(lock !== undefined && { lock }),
    defaultQueue: config.defaultQueue,
    resultsExpireInSeconds: expirySeconds(config),
    handleSignals: !config.noUnixSignals,
    logger: console.logger,
    ...rest,
  });
  server.logger.info('The settings of the server', withoutSecrets(config));
  return server;
}

/** Go takes its default for zero. */
function expirySeconds({ resultsExpireIn }: Config): number {
  return resultsExpireIn || 3_600;
}

type Change = (config: Config) => void;

class ConfiguredServer extends Server {
  readonly #live: ReadonlyMap<string, Change>;
  readonly #stop: () => void;

  constructor(config: Config | ConfigFile, console: LeveledLogger, options: ServerOptions) {
    super(options);
    const live = new Map<string, Change>([['logLevel', ({ logLevel }) => console.setLevel(logLevel)]]);
    const adapters = [
      [this.broker, liveSettings('broker', config)],
      [this.backend, liveSettings('resultBackend', config)],
    ] as const;
    for (const [adapter, settings] of adapters)
      for (const [path, change] of Object.entries(settings.live))
        live.set(path, (now) => change(adapter as never, now));
    if (!adapters.some(([, { fixed }]) => fixed.includes('resultsExpireIn')))
      live.set('resultsExpireIn', (now) => {
        this.resultsExpireInSeconds = expirySeconds(now);
      });
    this.#live = live;
    this.#stop = 'onChange' in config ? config.onChange((now, changed) => this.#changed(now, changed)) : () => {};
  }

  override close(): Promise<void> {
    this.#stop();
    return super.close();
  }

  #changed(config: Config, changed: readonly string[]): void {
    for (const path of changed) {
      const change = this.#live.get(path);
      if (change === undefined) this.logger.warn(`The new ${path} takes effect when the program is started again`);
      else change(config);
    }
  }
}

/** `console` from a level up, which can be changed. */
class LeveledLogger {
  readonly logger: Logger;
  #from = 0;

  /** @throws MachineryError ERR_MACHINERY_INVALID_OPTION */
  constructor(level: string) {
    this.setLevel(level);
    this.logger = eachLevel((one) => (message, ...details) => {
      if (levels.indexOf(one) >= this.#from) console[one](message, ...details);
    });
  }

  setLevel(level: string): void {
    const from = [...levels, 'silent'].indexOf(level);
    if (from === -1)
      throw invalidOption(`Expected \`logLevel\` to be one of ${levels.join(', ')} or silent, got ${level}`);
    this.#from = from;
  }
}
