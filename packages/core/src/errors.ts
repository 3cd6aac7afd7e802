// Every error that this project raises on purpose. One class carries a code from a closed set; the few subclasses exist
// because callers catch them. Adapters wrap what their driver throws and keep it as `cause`.

/** What can go wrong, as `error.code`. The set is closed: a new code is a change of the public API. */
export type MachineryErrorCode =
  | 'ERR_MACHINERY_ABORTED'
  | 'ERR_MACHINERY_BACKEND_FAILED'
  | 'ERR_MACHINERY_BACKEND_UNAVAILABLE'
  | 'ERR_MACHINERY_BROKER_FAILED'
  | 'ERR_MACHINERY_BROKER_UNAVAILABLE'
  | 'ERR_MACHINERY_CALLBACKS_TOO_DEEP'
  | 'ERR_MACHINERY_CLOSED'
  | 'ERR_MACHINERY_CONTRACT_VERSION'
  | 'ERR_MACHINERY_GROUP_EXPIRED'
  | 'ERR_MACHINERY_GROUP_NOT_SENT'
  | 'ERR_MACHINERY_INVALID_ARGUMENT'
  | 'ERR_MACHINERY_INVALID_MESSAGE'
  | 'ERR_MACHINERY_INVALID_OPTION'
  | 'ERR_MACHINERY_INVALID_SIGNATURE'
  | 'ERR_MACHINERY_MESSAGE_TOO_LARGE'
  | 'ERR_MACHINERY_NOT_DRAINED'
  | 'ERR_MACHINERY_NOT_SUPPORTED'
  | 'ERR_MACHINERY_PUBLISH_UNKNOWN'
  | 'ERR_MACHINERY_RESULT_EXPIRED'
  | 'ERR_MACHINERY_RESULT_TIMEOUT'
  | 'ERR_MACHINERY_RETRY_LATER'
  | 'ERR_MACHINERY_STATE_TOO_LARGE'
  | 'ERR_MACHINERY_TASK_ALREADY_REGISTERED'
  | 'ERR_MACHINERY_TASK_FAILED'
  | 'ERR_MACHINERY_TASK_NOT_REGISTERED'
  | 'ERR_MACHINERY_TASK_TIMEOUT'
  | 'ERR_MACHINERY_TOO_MANY_DELIVERIES'
  | 'ERR_MACHINERY_UNRECOVERABLE';

/** Two copies of core in one process still recognise each other's errors by this key. */
const brand = Symbol.for('@machinery/core.error');

/** The base of every error of this project. */
export class MachineryError extends Error {
  readonly code: MachineryErrorCode;
  readonly [brand] = true;

  constructor(code: MachineryErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }

  /** Whether `value` is an error of this project, made by this or by another copy of core, and has `code` when one is given. */
  static is(value: unknown, code?: MachineryErrorCode): value is MachineryError {
    try {
      const isOurs = typeof value === 'object' && value !== null && brand in value;
      return isOurs && (code === undefined || (value as MachineryError).code === code);
    } catch {
      return false; // tasks throw anything, a revoked proxy too
    }
  }
}

/** What `get` throws when the task ended as FAILURE. */
export class TaskFailedError extends MachineryError {
  readonly taskName: string;
  readonly taskUuid: string;
  /** The text that the worker stored: the message of what the task threw. */
  readonly error: string;

  constructor(task: { name: string; uuid: string; error: string }) {
    super(
      'ERR_MACHINERY_TASK_FAILED',
      task.error === '' ? `Task ${task.name || task.uuid} failed without an error text` : task.error,
    );
    this.taskName = task.name;
    this.taskUuid = task.uuid;
    this.error = task.error;
  }
}

/** A task of a group, by name and UUID. */
export interface SentTask {
  readonly name: string;
  readonly uuid: string;
}
/** One that could not be sent, and why. */
export interface UnsentTask extends SentTask {
  readonly error: Error;
}

/**
 * What sending a group throws when it was published in part, or not at all. Members that were published run. Those that were not
 * are FAILURE, and so is the callback of their chord; where no member was published, the callback has no state.
 */
export class GroupSendError extends MachineryError {
  readonly sent: readonly SentTask[];
  readonly unsent: readonly UnsentTask[];

  /** @param notMarked why the states above could not be stored: then they are PENDING until they expire. */
  constructor(sent: readonly SentTask[], unsent: readonly UnsentTask[], notMarked?: unknown) {
    const first = unsent[0]?.error;
    const total = sent.length + unsent.length;
    const more = notMarked === undefined ? '' : `; that they failed could not be stored: ${errorText(notMarked)}`;
    super(
      'ERR_MACHINERY_GROUP_NOT_SENT',
      `${unsent.length} of ${total} tasks were not published: ${errorText(first)}${more}`,
      { cause: first },
    );
    this.sent = sent;
    this.unsent = unsent;
  }
}

/** What an optional member of a contract throws on an adapter that does not declare it. */
export class NotSupportedError extends MachineryError {
  constructor(adapter: string, what: string) {
    super('ERR_MACHINERY_NOT_SUPPORTED', `${adapter} does not support ${what}`);
  }
}

/**
 * Thrown by a task that wants to run again later, without using up one of its retries. Nothing counts these: a task
 * that throws it for ever is tried for ever.
 */
export class RetryLater extends MachineryError {
  /** How long to wait, in milliseconds. */
  readonly delayMs: number;

  constructor(delayMs: number, message = 'The task asked to be tried again later', options?: { cause?: unknown }) {
    super('ERR_MACHINERY_RETRY_LATER', message, options);
    if (!Number.isFinite(delayMs) || delayMs < 0) {
      throw new MachineryError(
        'ERR_MACHINERY_INVALID_OPTION',
        `Expected the delay of RetryLater to be a number of milliseconds >= 0, got \`${String(delayMs)}\` (${typeof delayMs})`,
      );
    }
    this.delayMs = delayMs;
  }
}

/** Thrown by a task that no further attempt can help: it is a FAILURE at once, whatever retries are left. */
export class UnrecoverableError extends MachineryError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('ERR_MACHINERY_UNRECOVERABLE', message, options);
  }
}

/** The text of anything that was thrown, for logs and stored states. Never throws, whatever `thrown` is. */
export function errorText(thrown: unknown): string {
  try {
    if (typeof thrown !== 'object' || thrown === null) return String(thrown);
    const { message } = thrown as { message?: unknown };
    if (thrown instanceof Error) return String(message || thrown.name);
    return typeof message === 'string' ? message : (JSON.stringify(thrown) ?? String(thrown));
  } catch {
    return 'The task threw a value that has no text';
  }
}

/** How long the thrown value asks to wait, in milliseconds; undefined when it is no RetryLater. */
export function retryLaterMs(thrown: unknown): number | undefined {
  if (!MachineryError.is(thrown, 'ERR_MACHINERY_RETRY_LATER')) return undefined;
  const { delayMs } = thrown as RetryLater;
  return Number.isFinite(delayMs) && delayMs >= 0 ? delayMs : undefined;
}

/** Whether a call that failed so may succeed later: the server is away, or nobody knows what it was. */
export function mayPass(error: unknown): boolean {
  if (!MachineryError.is(error)) return true;
  return error.code === 'ERR_MACHINERY_BACKEND_UNAVAILABLE' || error.code === 'ERR_MACHINERY_BROKER_UNAVAILABLE';
}
