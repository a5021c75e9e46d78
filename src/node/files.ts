import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, messageOf, WeightsError } from '../core/errors.js';
import type { ByteSource } from '../weights/source.js';
import { expectKnown, lookAt, reasonOf } from './place.js';

/** A file read range by range. Throws WeightsError where it cannot be opened or is not a file. */
export function fileSource(path: string): ByteSource {
  let handle: number;
  // To open a pipe is to wait for whoever writes into it.
  if (lookAt(path).kind === 'other') throw new WeightsError(`${path}: expected a file`);
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

/** Throws InputError where that cannot be asked. */
export function fileExists(path: string): boolean {
  return expectKnown(path).kind === 'file';
}

/** Throws InputError where that cannot be asked. */
export function directoryExists(path: string): boolean {
  return expectKnown(path).kind === 'directory';
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
  return fileExists(path) ? readText(path) : undefined;
}

/** A text in UTF-8; messages call it `named`. Throws InputError. */
export function readText(path: string, named: string = path): string {
  try {
    // Unlike Node's own reading, this leaves out the byte order mark that some editors write.
    return new TextDecoder().decode(readFileSync(path));
  } catch (cause) {
    throw new InputError(`${named}: cannot be read: ${reasonOf(cause, path)}`, { cause });
  }
}
