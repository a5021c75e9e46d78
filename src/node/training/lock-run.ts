import { rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { takeLock } from '../lock.js';
import { makeDirectories } from '../place.js';

/**
 * Takes the `out` folder of a run for this process: two that train there would write each step twice and prune each other's
 * checkpoints. Returns what gives it back. Throws LockedError where another process has it.
 */
export function lockRun(dir: string): () => void {
  let made: string | undefined;
  try {
    made = makeDirectories(dir);
  } catch (cause) {
    throw new InputError(`${dir}: cannot be written to: ${messageOf(cause)}; name another "out"`, { cause });
  }
  const unlock = takeLock(
    join(dir, 'lock'),
    (owner) => `${dir}: ${owner} is training there; wait for it, or name another "out"`,
  );
  return () => {
    unlock();
    if (made !== undefined) removeEmpty(dir);
  };
}

/** A run that was refused before it wrote anything leaves no folder behind. */
function removeEmpty(dir: string): void {
  try {
    rmdirSync(dir);
  } catch {
    // There is something in it, as there is to be.
  }
}
