import nodeFs, { linkSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { InputError, LockedError, messageOf } from '../core/errors.js';
import type { WriteCalls } from './atomic.js';
import { isAlive, isOfThisMachine, ownIdentity, type ProcessIdentity, temporaryName } from './process-identity.js';

/** A lock without an owner in it is one that is being taken, for so many milliseconds. */
const takingTime = 5000;

/**
 * Takes a lock: a file that says which process of which machine has it. The lock of a process of this machine that is gone is taken
 * over; one of another machine holds, because nobody here can ask. Returns what gives it back. `busy` makes the message where
 * another process has it: a LockedError.
 */
export function takeLock(path: string, busy: (owner: string) => string, fs: WriteCalls = nodeFs): () => void {
  for (let attempt = 0; attempt < 2; attempt++) {
    if (create(path, fs)) return () => rmSync(path, { force: true });
    const found = lockAt(path);
    if (found && isHeld(found)) throw new LockedError(messageFor(path, found, busy));
    if (found) discard(path, found);
  }
  throw new LockedError(busy('another process'));
}

function messageFor(path: string, { owner }: Lock, busy: (owner: string) => string): string {
  if (!(owner.pid > 0)) return busy('another process');
  if (isOfThisMachine(owner)) return busy(`process ${owner.pid}`);
  return `${busy(`process ${owner.pid} of ${owner.host}`)}. From here nobody can tell whether it still runs: where it does not, remove ${path}`;
}

function create(path: string, fs: WriteCalls): boolean {
  let made = false;
  try {
    const handle = fs.openSync(path, 'wx');
    made = true;
    try {
      const { pid, host, start = '' } = ownIdentity();
      fs.writeSync(handle, `${pid} ${host} ${start}`.trimEnd());
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    // A lock without its owner would hold up the next process.
    if (made) rmSync(path, { force: true });
    throw new InputError(`${path}: cannot be made: ${messageOf(cause)}`, { cause });
  }
}

interface Lock {
  readonly owner: ProcessIdentity;
  readonly text: string;
  /** When the file was written. */
  readonly since: number;
}

/** A lock that is there; undefined where it is gone by now. */
function lockAt(path: string): Lock | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    const [pid = '', host = '', start] = text.split(' ');
    return { owner: { pid: Number(pid), host, ...(start && { start }) }, text, since: statSync(path).mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function isHeld({ owner, since }: Lock): boolean {
  // A file server's clock may be before this machine's or behind it.
  if (!(owner.pid > 0)) return Math.abs(Date.now() - since) < takingTime;
  return !isOfThisMachine(owner) || isAlive(owner);
}

/** Takes a lock away that nobody has. Where another process did so and has the lock by now, it keeps it. */
function discard(path: string, { text }: Lock): void {
  const taken = temporaryName(path);
  try {
    renameSync(path, taken);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  try {
    if (readFileSync(taken, 'utf8') !== text) linkSync(taken, path);
  } finally {
    rmSync(taken, { force: true });
  }
}
