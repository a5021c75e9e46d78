import nodeFs, { rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { InputError, messageOf, VaryclipError } from '../core/errors.js';
import { expectKnown, makeDirectories, namesIn } from './place.js';
import { temporaryName } from './process-identity.js';

/** The calls a safe write makes; tests inject faults into them. */
export type WriteCalls = Pick<
  typeof nodeFs,
  'openSync' | 'writeSync' | 'fsync' | 'fsyncSync' | 'closeSync' | 'renameSync' | 'unlinkSync'
>;

/** Whether a write failed because of the place, not of what was written: it is full, or nothing may be written there. */
export function isNoRoom(error: unknown): boolean {
  const { code } = ((error as Error | undefined)?.cause ?? {}) as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EROFS';
}

/** What ended a job that keeps what it has done; where there was no room, with what to do. */
export function resumable(error: unknown): unknown {
  if (!isNoRoom(error)) return error;
  return new InputError(
    `${messageOf(error)}; make room there, or make it writable, and start the same command again: it goes on from here`,
    { cause: error },
  );
}

/**
 * Writes a file so that its name holds the old content or the new, never a part: a temporary file beside it, fsync, rename,
 * fsync of the directory. Throws InputError; the temporary file is removed.
 */
export function writeFileAtomic(path: string, chunks: Iterable<Uint8Array>, fs: WriteCalls = nodeFs): void {
  const temporary = temporaryName(path);
  let handle: number | undefined;
  const close = () => {
    const open = handle;
    handle = undefined;
    if (open !== undefined) fs.closeSync(open);
  };
  try {
    handle = fs.openSync(temporary, 'w');
    for (const chunk of chunks) writeAll(handle, chunk, fs);
    fs.fsyncSync(handle);
    close();
    fs.renameSync(temporary, path);
  } catch (cause) {
    quietly(close);
    quietly(() => fs.unlinkSync(temporary));
    throw notWritten(path, cause);
  }
  syncDirectory(path, fs);
}

/** A text, all at once as `writeFileAtomic` does it. */
export const writeTextAtomic = (path: string, text: string, fs?: WriteCalls): void =>
  writeFileAtomic(path, [new TextEncoder().encode(text)], fs);

/**
 * The same from pieces that come one after the other, and with the temporary file at `temporary` on the same file system. What
 * `chunks` throws is thrown as it is.
 */
export async function streamFileAtomic(
  path: string,
  temporary: string,
  chunks: AsyncIterable<Uint8Array>,
  fs: WriteCalls = nodeFs,
): Promise<void> {
  let handle: number | undefined;
  const written = <T>(task: () => T): T => {
    try {
      return task();
    } catch (cause) {
      throw notWritten(path, cause);
    }
  };
  try {
    const open = written(() => fs.openSync(temporary, 'w'));
    handle = open;
    for await (const chunk of chunks) written(() => writeAll(open, chunk, fs));
    await syncFile(open, fs).catch((cause: unknown) => {
      throw notWritten(path, cause);
    });
    written(() => {
      handle = undefined;
      fs.closeSync(open);
      fs.renameSync(temporary, path);
    });
  } catch (error) {
    const open = handle;
    if (open !== undefined) quietly(() => fs.closeSync(open));
    quietly(() => fs.unlinkSync(temporary));
    throw error;
  }
  syncDirectory(path, fs);
}

const notWritten = (path: string, cause: unknown) =>
  new InputError(`${path}: could not be written: ${messageOf(cause)}; what was there before is kept`, { cause });

/**
 * Makes a directory all at once: `write` fills one beside it, which then takes the name. Throws InputError where something is
 * there already; whatever `write` throws leaves nothing behind.
 */
export async function makeDirectoryAtomic(
  path: string,
  write: (dir: string) => Promise<void>,
  fs: WriteCalls = nodeFs,
): Promise<void> {
  expectNothingAt(path);
  const temporary = temporaryName(resolve(path));
  try {
    makeDirectories(temporary);
    await write(temporary);
    expectNothingAt(path);
    rmSync(path, { recursive: true, force: true });
    fs.renameSync(temporary, path);
  } catch (cause) {
    quietly(() => rmSync(temporary, { recursive: true, force: true }));
    // Nobody knows the directory by the name that it has until it is whole.
    if (cause instanceof InputError && cause.message.includes(temporary))
      throw new InputError(
        cause.message.replaceAll(temporary, () => path),
        { cause: cause.cause ?? cause },
      );
    if (cause instanceof VaryclipError) throw cause;
    throw new InputError(`${path}: could not be written: ${messageOf(cause)}`, { cause });
  }
  syncDirectory(resolve(path), fs);
}

/** Throws InputError where no file can be: something else has the name, or its folder is not there. Known before the work. */
export function expectFilePlace(path: string): void {
  const found = expectKnown(path);
  if ('what' in found && found.kind !== 'file') {
    throw new InputError(`${path}: is ${found.what}; name a file to be written`);
  }
  const folder = dirname(resolve(path));
  if (found.kind === 'none' && expectKnown(folder).kind !== 'directory') {
    throw new InputError(`${path}: there is no folder ${folder}; make it first`);
  }
}

/** Throws InputError unless there is nothing, or an empty directory. */
export function expectNothingAt(path: string): void {
  const found = expectKnown(path);
  if (found.kind === 'none' || (found.kind === 'directory' && namesIn(path).length === 0)) return;
  const what = found.kind === 'directory' ? 'a directory that is not empty' : found.what;
  throw new InputError(`${path}: is ${what}; name a directory that does not exist yet`);
}

/** One call may write less than asked, and at most 2 GiB. */
function writeAll(handle: number, chunk: Uint8Array, fs: WriteCalls): void {
  for (let done = 0; done < chunk.length; ) {
    const written = fs.writeSync(handle, chunk, done, Math.min(chunk.length - done, 2 ** 30));
    if (written === 0) throw new Error('nothing was written');
    done += written;
  }
}

/** What was written to a file is on the disk when this is done, and nothing else waits for the disk. */
export const syncFile = (handle: number, fs: Pick<WriteCalls, 'fsync'>): Promise<void> =>
  new Promise((resolve, reject) => {
    fs.fsync(handle, (cause) => (cause ? reject(cause) : resolve()));
  });

/** Makes a rename to `path` survive a power failure. */
export function syncDirectory(path: string, fs: WriteCalls): void {
  // Windows cannot open a directory; there a rename is durable by itself.
  if (process.platform === 'win32') return;
  try {
    const handle = fs.openSync(dirname(path), 'r');
    try {
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
  } catch (cause) {
    throw new InputError(
      `${path}: was written, but its directory could not be synced: ${messageOf(cause)}; a power failure could undo it`,
      { cause },
    );
  }
}

function quietly(task: () => void): void {
  try {
    task();
  } catch {
    // The first failure is the one to report.
  }
}
