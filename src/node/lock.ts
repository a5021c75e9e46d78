import nodeFs, { readFileSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { InputError, LockedError, messageOf } from '../core/errors.js';
import type { WriteCalls } from './atomic.js';

/** A lock without an owner in it is one that is being taken, for so many milliseconds. */
const takingTime = 5000;

/**
 * Takes a lock: a file that holds this process's id and machine. The lock of a process of this machine that is gone is taken over.
 * Returns what gives it back. `busy` makes the message where another process has it: a LockedError.
 */
export function takeLock(path: string, busy: (owner: string) => string, fs: WriteCalls = nodeFs): () => void {
  for (let attempt = 0; attempt < 2; attempt++) {
    if (create(path, fs)) return () => rmSync(path, { force: true });
    const owner = ownerOf(path);
    if (owner && isHeld(owner)) throw new LockedError(busy(owner.name));
    rmSync(path, { force: true });
  }
  throw new LockedError(busy('another process'));
}

function create(path: string, fs: WriteCalls): boolean {
  let made = false;
  try {
    const handle = fs.openSync(path, 'wx');
    made = true;
    try {
      fs.writeSync(handle, [process.pid, hostname(), startOf(process.pid) ?? ''].join(' ').trimEnd());
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

interface Owner {
  readonly name: string;
  readonly pid: number;
  readonly host: string;
  /** When the process began, where that is known. */
  readonly start?: string;
  /** When the file was written. */
  readonly since: number;
}

/** Who holds a lock; undefined where it is gone by now. */
function ownerOf(path: string): Owner | undefined {
  try {
    const [pid = '', host = '', start] = readFileSync(path, 'utf8').split(' ');
    const since = statSync(path).mtimeMs;
    return {
      name: pid === '' ? 'another process' : `process ${pid}`,
      pid: Number(pid),
      host,
      since,
      ...(start && { start }),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A process of another machine cannot be asked: its lock holds. */
function isHeld({ pid, host, since, start }: Owner): boolean {
  if (!(pid > 0)) return Date.now() - since < takingTime;
  if (host !== '' && host !== hostname()) return true;
  // A container that is started again has the old one's name, and its processes often the old ones' numbers.
  return isRunning(pid) && (start === undefined || start === startOf(pid));
}

/** When a process began, in ticks since the machine did; undefined where nobody says so. */
function startOf(pid: number): string | undefined {
  try {
    // The name of the program stands in parentheses and may have spaces.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
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
