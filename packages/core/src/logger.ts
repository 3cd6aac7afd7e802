// What core and the adapters log to. `console` and pino fit as they are.

/** A logger with four levels. Each call has one text; `details` is an object with the task, the queue or the error. */
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
