// Cases that open adapters: everything they opened is closed when they end, however they end.

/** Runs a case with a function that opens one more adapter. What the case finds says more than what closing finds after it. */
export async function withOpened<T extends { close(): Promise<void> }>(
  create: () => T | Promise<T>,
  run: (open: () => Promise<T>) => Promise<void>,
): Promise<void> {
  const opened: T[] = [];
  const close = () => Promise.all(opened.map((adapter) => adapter.close()));
  try {
    await run(async () => {
      const adapter = await create();
      opened.push(adapter);
      return adapter;
    });
  } catch (error) {
    await close().catch(() => {});
    throw error;
  }
  await close();
}
