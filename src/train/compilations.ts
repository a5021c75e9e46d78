/** Graphs of different extents that stay compiled. */
const maxCompiled = 6;

export interface Compilations<T> {
  get(key: string, compile: () => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

/** Compiles when first needed, and keeps the last few. */
export function createCompilations<T extends { dispose(): Promise<void> }>(): Compilations<T> {
  const kept = new Map<string, T>();
  return {
    get: async (key, compile) => {
      const known = kept.get(key) ?? (await compile());
      kept.delete(key);
      kept.set(key, known);
      if (kept.size > maxCompiled) {
        const [oldest, { dispose }] = kept.entries().next().value as [string, T];
        kept.delete(oldest);
        await dispose();
      }
      return known;
    },
    dispose: async () => {
      for (const one of kept.values()) await one.dispose();
      kept.clear();
    },
  };
}
