/** Graphs of different extents that stay compiled, where nothing else is said. */
export const defaultMaxCompiled = 12;

export interface Compilations<T> {
  get(key: string, compile: () => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

/** Compiles when first needed, and keeps the `most` that were used last: each holds the memory its runs need. */
export function createCompilations<T extends { dispose(): Promise<void> }>(most: number): Compilations<T> {
  const kept = new Map<string, T>();
  const closeOldest = async () => {
    const [oldest, { dispose }] = kept.entries().next().value as [string, T];
    kept.delete(oldest);
    await dispose();
  };
  return {
    get: async (key, compile) => {
      let found = kept.get(key);
      if (!found) {
        // Before the new one is made, so that there are never more of them.
        while (kept.size >= most) await closeOldest();
        found = await compile();
      }
      kept.delete(key);
      kept.set(key, found);
      return found;
    },
    dispose: async () => {
      for (const one of kept.values()) await one.dispose();
      kept.clear();
    },
  };
}
