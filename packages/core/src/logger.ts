// What core and the adapters log to. `console` fits as it is, pino and its like by `structuredLogger`.

/**
 * A logger with four levels. Each call has one text; what comes after it is an error, or an object with fields: of a task `task`, `uuid`,
 * `attempt`, `queue` and `err`.
 */
export interface Logger {
  debug(message: string, ...details: unknown[]): void;
  info(message: string, ...details: unknown[]): void;
  warn(message: string, ...details: unknown[]): void;
  error(message: string, ...details: unknown[]): void;
}

const ignore = (): void => {};

/** A logger that says nothing. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** The default: `console` from warnings up. */
export const consoleLogger: Logger = {
  debug: ignore,
  info: ignore,
  warn: (message, ...details) => console.warn(message, ...details),
  error: (message, ...details) => console.error(message, ...details),
};

/** What pino and other loggers of fields have: the fields first, then the text. */
export type StructuredLog = Record<keyof Logger, (fields: object, message: string) => void>;

/** Logs to a logger of fields, pino for one. An error is its field `err`. */
export function structuredLogger(log: StructuredLog): Logger {
  const fieldsOf = (detail: unknown) =>
    detail instanceof Error ? { err: detail } : typeof detail === 'object' ? detail : { detail };
  return eachLevel(
    (level) =>
      (message, ...details) =>
        log[level](Object.assign({}, ...details.map(fieldsOf)), message),
  );
}

type Log = Logger[keyof Logger];

/** A logger whose levels are made one by one. */
export function eachLevel(make: (level: keyof Logger) => Log): Logger {
  return { debug: make('debug'), info: make('info'), warn: make('warn'), error: make('error') };
}

/** A logger that never throws: what is logged may be anything that a task threw, and break while it is printed. */
export function guardedLogger(logger: Logger): Logger {
  return eachLevel((level) => (message, ...details) => {
    try {
      logger[level](message, ...details);
    } catch {
      try {
        logger[level](message);
      } catch {} // a logger that cannot even log a text has nowhere to say so
    }
  });
}
