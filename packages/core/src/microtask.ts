// Something to do once the code that runs has returned, before anything else.

const done = Promise.resolve();

/** Calls `fn` in a microtask: a promise's, as users' tests may fake the global queueMicrotask (jest does). */
export function inMicrotask(fn: () => unknown): void {
  void done.then(fn);
}
