import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { InputError } from '../../core/errors.js';

/**
 * Runs `task` while a file holds this process's id, so that no two processes write the same download. The lock of a process that is
 * gone is taken over. Throws InputError where another process has it.
 */
export async function withLock(path: string, what: string, task: () => Promise<void>): Promise<void> {
  take(path, what);
  try {
    await task();
  } finally {
    rmSync(path, { force: true });
  }
}

function take(path: string, what: string): void {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = openSync(path, 'wx');
      writeSync(handle, String(process.pid));
      closeSync(handle);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = ownerOf(path);
    if (owner !== undefined && isRunning(owner)) {
      throw new InputError(`${what}: process ${owner} is downloading it; wait for it, or remove ${path} if it is not`);
    }
    rmSync(path, { force: true });
  }
  throw new InputError(`${what}: another process took ${path}`);
}

function ownerOf(path: string): number | undefined {
  try {
    return Number(readFileSync(path, 'utf8')) || undefined;
  } catch {
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
