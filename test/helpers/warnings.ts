import { setImmediate as turn } from 'node:timers/promises';

/** What `task` returns, and the warnings that the process gave meanwhile. */
export async function warningsDuring<T>(
  task: () => Promise<T>,
): Promise<{ readonly result: T; readonly warnings: readonly string[] }> {
  const warnings: string[] = [];
  const keep = (warning: Error) => void warnings.push(warning.message);
  process.on('warning', keep);
  try {
    const result = await task();
    // A warning is given in a turn of its own.
    await turn();
    return { result, warnings };
  } finally {
    process.off('warning', keep);
  }
}
