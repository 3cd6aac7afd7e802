// What an error of Redis means to core: whether trying again may help.

import { MachineryError, type MachineryErrorCode } from '@machinery/core';

/**
 * Error replies that pass by themselves: the server starts, fails over, is busy with a script, has too little memory for now, or
 * slots have moved (the driver follows by itself only when a whole pipeline is told the same).
 */
const passing =
  /^(?:LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|READONLY|BUSY|NOREPLICAS|UNBLOCKED|OOM|MISCONF|MOVED|ASK)\b/;

/** A driver's error as core's: `…_FAILED` for what the server refused for good, `…_UNAVAILABLE` for everything else. */
export function redisError(role: 'backend' | 'broker', doing: string, cause: unknown): MachineryError {
  if (MachineryError.is(cause)) return cause;
  hidePassword(cause);
  const { name } = cause as Error;
  const message = name === 'MaxRetriesPerRequestError' ? 'there is no connection' : (cause as Error).message;
  const isRefused = name === 'ReplyError' && !passing.test(message);
  const code: MachineryErrorCode = isRefused
    ? role === 'backend'
      ? 'ERR_MACHINERY_BACKEND_FAILED'
      : 'ERR_MACHINERY_BROKER_FAILED'
    : role === 'backend'
      ? 'ERR_MACHINERY_BACKEND_UNAVAILABLE'
      : 'ERR_MACHINERY_BROKER_UNAVAILABLE';
  return new MachineryError(code, `Redis could not ${doing}: ${message}`, { cause });
}

/** The driver's errors carry their command, which has the password when it is that of the greeting. */
function hidePassword(cause: unknown): void {
  const { command } = cause as { command?: { name: string; args: unknown[] } };
  if (command !== undefined && /^(?:hello|auth)$/i.test(command.name)) command.args = ['***'];
}
