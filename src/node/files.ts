import { closeSync, fstatSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, messageOf, WeightsError } from '../core/errors.js';
import type { ByteSource } from '../weights/source.js';

/** A file read range by range. Throws WeightsError where it cannot be opened or is not a file. */
export function fileSource(path: string): ByteSource {
  let handle: number;
  try {
    handle = openSync(path, 'r');
  } catch (cause) {
    throw new WeightsError(`${path}: cannot be opened: ${messageOf(cause)}`, { cause });
  }
  const stats = fstatSync(handle);
  if (!stats.isFile()) {
    closeSync(handle);
    throw new WeightsError(`${path}: expected a file`);
  }
  let open = true;
  return {
    name: path,
    size: stats.size,
    read: (offset, length) => readRange(handle, offset, length),
    dispose: () => {
      if (open) closeSync(handle);
      open = false;
    },
  };
}

/** As many of the bytes as there are; one system call reads at most 2 GiB. */
export function readRange(handle: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const got = readSync(handle, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
    if (got === 0) break;
    done += got;
  }
  return bytes.subarray(0, done);
}

export function fileExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

export function directoryExists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** A JSON file of a checkpoint, or undefined where there is none. Throws InputError naming the file where it is broken. */
export function readJson(dir: string, name: string): unknown {
  const text = readTextFile(dir, name);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new InputError(`${join(dir, name)}: is not JSON: ${messageOf(cause)}`, { cause });
  }
}

/** A small text file, or undefined where there is none. */
export function readTextFile(dir: string, name: string): string | undefined {
  const path = join(dir, name);
  return fileExists(path) ? readFileSync(path, 'utf8') : undefined;
}
