import nodeFs from 'node:fs';
import { dirname } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';

/** The calls a safe write makes; tests inject faults into them. */
export type WriteCalls = Pick<
  typeof nodeFs,
  'openSync' | 'writeSync' | 'fsyncSync' | 'closeSync' | 'renameSync' | 'unlinkSync'
>;

/**
 * Writes a file so that its name holds the old content or the new, never a part: a temporary file beside it, fsync, rename,
 * fsync of the directory. Throws InputError; the temporary file is removed.
 */
export function writeFileAtomic(path: string, chunks: Iterable<Uint8Array>, fs: WriteCalls = nodeFs): void {
  const temporary = `${path}.${process.pid}.tmp`;
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
    throw new InputError(`${path}: could not be written: ${messageOf(cause)}; what was there before is kept`, {
      cause,
    });
  }
  syncDirectory(dirname(path), fs);
}

/** One call may write less than asked, and at most 2 GiB. */
function writeAll(handle: number, chunk: Uint8Array, fs: WriteCalls): void {
  for (let done = 0; done < chunk.length; ) {
    done += fs.writeSync(handle, chunk, done, Math.min(chunk.length - done, 2 ** 30));
  }
}

function syncDirectory(path: string, fs: WriteCalls): void {
  // Windows cannot open a directory; there a rename is durable by itself.
  if (process.platform === 'win32') return;
  const handle = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}

function quietly(task: () => void): void {
  try {
    task();
  } catch {
    // The first failure is the one to report.
  }
}
