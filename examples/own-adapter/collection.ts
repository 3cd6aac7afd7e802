// Documents under keys in a Map: it stands for a collection of your database. What an adapter needs of it is that a document is
// changed in one step, however many processes are at it: in a transaction, or by writing only what has not changed since it was read.

export class Collection<T> {
  readonly #items = new Map<string, { readonly document: T; readonly expiresAt: number }>();

  async get(key: string): Promise<T | undefined> {
    return structuredClone(this.#find(key)?.document); // what the caller does to it stays the caller's
  }

  /**
   * Stores what `change` makes of the document that is there. When that is the same one, nothing is written.
   * @param keepSeconds absent: for as long as before.
   */
  async update(key: string, change: (document: T | undefined) => T | undefined, keepSeconds?: number): Promise<void> {
    const before = this.#find(key);
    const document = change(before?.document);
    if (document === undefined || document === before?.document) return;
    const expiresAt = keepSeconds === undefined ? (before?.expiresAt ?? 0) : Date.now() + keepSeconds * 1_000;
    this.#items.set(key, { document: structuredClone(document), expiresAt });
  }

  /** Keeps a document for at least that much longer. */
  async renew(key: string, keepSeconds: number): Promise<void> {
    const item = this.#find(key);
    const expiresAt = Date.now() + keepSeconds * 1_000;
    if (item !== undefined && item.expiresAt < expiresAt) this.#items.set(key, { ...item, expiresAt });
  }

  async delete(key: string): Promise<void> {
    this.#items.delete(key);
  }

  #find(key: string) {
    const item = this.#items.get(key);
    return item !== undefined && item.expiresAt > Date.now() ? item : undefined;
  }
}
