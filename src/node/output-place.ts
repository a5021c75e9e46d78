/** Where an output may not go: over an input, whatever name or link leads to it. */
import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { InputError } from '../core/errors.js';

/** What a file is to its file system; undefined where there is none, or nobody may ask. */
function fileIdentity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}

/** Says which of `inputs` a path is. They are looked at only when there is something at a path that is asked for. */
export function inputFinder(inputs: Iterable<string>): (path: string) => string | undefined {
  let known: ReadonlyMap<string | undefined, string> | undefined;
  return (path) => {
    const identity = fileIdentity(path);
    if (identity === undefined) return undefined;
    known ??= new Map([...new Set(inputs)].map((input) => [fileIdentity(input), input]));
    return known.get(identity);
  };
}

/** Throws InputError where an option names a file for output that is one of `inputs`. */
export function expectNoInput(option: string, path: string, inputs: Iterable<string>): void {
  const input = inputFinder(inputs)(path);
  if (input === undefined) return;
  throw new InputError(`${option} ${path}: is the input ${input}, which would be lost; name another file`);
}

/** Where a path leads, links followed. What is not there yet is where it would be made. */
function realPathOf(path: string): string {
  const whole = resolve(path);
  try {
    return realpathSync(whole);
  } catch {
    const folder = dirname(whole);
    return folder === whole ? whole : join(realPathOf(folder), basename(whole));
  }
}

/** Whether a path is a folder, or lies in it, whatever links lead there. */
export function liesIn(path: string, folder: string): boolean {
  const below = relative(realPathOf(folder), realPathOf(path));
  return below !== '..' && !below.startsWith(`..${sep}`) && !isAbsolute(below);
}
