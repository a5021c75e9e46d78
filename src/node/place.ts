/** What a path names. It is asked in one way everywhere, so that what cannot be asked is a reason in a message and no stack trace. */
import { mkdirSync, readdirSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';

/** Something is there. `other` is a pipe, a device or a socket: it may have no end, or hold up whoever opens it. */
interface Found {
  readonly kind: 'file' | 'directory' | 'other';
  /** In words. */
  readonly what: string;
  readonly facts: Stats;
}

interface Missing<Kind> {
  readonly kind: Kind;
  readonly reason: string;
  readonly cause: unknown;
}

export type KnownPlace = Found | Missing<'none'>;
/** `unknown`: something may be there, but the system does not say. */
export type Place = KnownPlace | Missing<'unknown'>;

/** What is at a path; links are followed. */
export function lookAt(path: string): Place {
  try {
    return placeOf(statSync(path));
  } catch (cause) {
    const kind = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'none' : 'unknown';
    return { kind, reason: reasonOf(cause, path), cause };
  }
}

function placeOf(facts: Stats): Found {
  if (facts.isFile()) return { kind: 'file', what: 'a file', facts };
  if (facts.isDirectory()) return { kind: 'directory', what: 'a directory', facts };
  return { kind: 'other', what: facts.isFIFO() ? 'a pipe' : facts.isSocket() ? 'a socket' : 'a device', facts };
}

/** The same, where it must be known. Throws InputError. */
export function expectKnown(path: string): KnownPlace {
  const place = lookAt(path);
  if (place.kind !== 'unknown') return place;
  throw new InputError(`${path}: cannot be looked at: ${place.reason}`, { cause: place.cause });
}

/** The facts of a file that is about to be read; messages call it `named`. Throws InputError where it is none. */
export function expectFile(path: string, named: string = path, wanted = 'a file'): Stats {
  const place = lookAt(path);
  if (place.kind === 'file') return place.facts;
  if ('what' in place) throw new InputError(`${named}: expected ${wanted}, got ${place.what}`);
  throw new InputError(`${named}: cannot be read: ${place.reason}`, { cause: place.cause });
}

/** The names in a directory, none where there is no directory. Throws InputError where something else is there. */
export function namesIn(dir: string): string[] {
  const place = expectKnown(dir);
  if (place.kind === 'none') return [];
  if (place.kind !== 'directory') throw new InputError(`${dir}: expected a directory, got ${place.what}`);
  try {
    return readdirSync(dir);
  } catch (cause) {
    throw new InputError(`${dir}: cannot be read: ${reasonOf(cause, dir)}`, { cause });
  }
}

/**
 * Makes a directory and those above it, where they are missing; returns the uppermost that it made. Throws what the system says. Node's own
 * `recursive` never returns where a file system has no such entry to make (/proc, an automounter's folder).
 */
export function makeDirectories(dir: string): string | undefined {
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  try {
    return makeOne(dir);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(dir) === dir) throw cause;
  }
  const uppermost = makeDirectories(dirname(dir));
  const own = makeOne(dir);
  return uppermost ?? own;
}

function makeOne(dir: string): string | undefined {
  try {
    mkdirSync(dir);
    return dir;
  } catch (cause) {
    // Another process was quicker.
    if (statSync(dir, { throwIfNoEntry: false })?.isDirectory()) return undefined;
    throw cause;
  }
}

/** The same. Throws InputError. */
export function makeDirectory(dir: string): void {
  try {
    makeDirectories(dir);
  } catch (cause) {
    throw new InputError(`${dir}: cannot be made: ${reasonOf(cause, dir)}`, { cause });
  }
}

/** Why the system refused a path, in words. */
export function reasonOf(cause: unknown, path: string): string {
  switch ((cause as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return `there is no such file${path.includes('\ufffd') ? notText : ''}`;
    case 'ENOTDIR':
      return `${notDirectoryIn(path)} is no directory`;
    case 'ELOOP':
      return 'its links lead in a circle';
    case 'ENAMETOOLONG':
      return 'its name is too long for the file system';
    case 'EACCES':
      return 'permission denied';
    // Node's own check.
    case 'ERR_INVALID_ARG_VALUE':
      return 'its name has a zero byte in it';
    default:
      return messageOf(cause);
  }
}

/** Node shows a name that is no UTF-8 with U+FFFD in it, and by that name nothing can be opened. */
const notText = '; its name is not UTF-8, so it cannot be opened: rename it';

/** The part of a path that others should be in, and cannot: the longest that is there at all. */
function notDirectoryIn(path: string): string {
  let part = path.replace(/[/\\]+$/, '');
  for (; dirname(part) !== part; part = dirname(part)) {
    try {
      statSync(part);
      break;
    } catch {
      // It is further up.
    }
  }
  return part;
}
