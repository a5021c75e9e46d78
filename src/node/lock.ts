import { closeSync, fsyncSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { InputError, messageOf } from '../core/errors.js';

/** A lock without an owner in it is one that is being taken, for so many milliseconds. */
const takingTime = 5000;

/**
 * Takes a lock: a file that holds this process's id and machine. The lock of a process of this machine that is gone is taken over.
 * Returns what gives it back. `busy` makes the message where another process has it: an InputError.
 */
export function takeLock(path: string, busy: (owner: string) => string): () => void {
  for (let attempt = 0; attempt < 2; attempt++) {
    if (create(path)) return () => rmSync(path, { force: true });
    const owner = ownerOf(path);
    if (owner && isHeld(owner)) throw new InputError(busy(owner.name));
    rmSync(path, { force: true });
  }
  throw new InputError(busy('another process'));
}

function create(path: string): boolean {
  try {
    const handle = openSync(path, 'wx');
    try {
      writeSync(handle, `${process.pid} ${hostname()}`);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new InputError(`${path}: cannot be made: ${messageOf(cause)}`, { cause });
  }
}

interface Owner {
  readonly name: string;
  readonly pid: number;
  readonly host: string;
  /** When the file was written. */
  readonly since: number;
}

/** Who holds a lock; undefined where it is gone by now. */
function ownerOf(path: string): Owner | undefined {
  try {
    const [pid = '', host = ''] = readFileSync(path, 'utf8').split(' ');
    const since = statSync(path).mtimeMs;
    return { name: pid === '' ? 'another process' : `process ${pid}`, pid: Number(pid), host, since };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A process of another machine cannot be asked: its lock holds. */
function isHeld({ pid, host, since }: Owner): boolean {
  if (!(pid > 0)) return Date.now() - since < takingTime;
  return (host !== '' && host !== hostname()) || isRunning(pid);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
