import { takeLock } from '../lock.js';

/**
 * Runs `task` while a file holds this process's id, so that no two processes write the same download. The lock of a process that is
 * gone is taken over. Throws InputError where another process has it.
 */
export async function withLock(path: string, what: string, task: () => Promise<void>): Promise<void> {
  const release = takeLock(path, (owner) => `${what}: ${owner} is downloading it; wait for it`);
  try {
    await task();
  } finally {
    release();
  }
}
