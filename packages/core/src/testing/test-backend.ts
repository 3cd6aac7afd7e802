// The memory backend as a test server has it: it notices who waits for a result while nothing runs.

// Imported, as tests may fake the global ones.
import { clearTimeout, setTimeout } from 'node:timers';
import { MemoryBackend } from '../memory/memory-backend.ts';
import type { TaskState } from '../task-state.ts';

/** How long a wait may take that nobody wonders about, in milliseconds of real time. */
const longWaitMs = 1_000;

export class TestBackend extends MemoryBackend {
  /** Called when somebody has waited long for a state. */
  onLongWait: () => void = () => {};

  override watch(taskUuid: string, listener: (state: TaskState) => void): () => void {
    const timer = setTimeout(() => this.onLongWait(), longWaitMs).unref();
    const unwatch = super.watch(taskUuid, listener);
    return () => {
      clearTimeout(timer);
      unwatch();
    };
  }
}
