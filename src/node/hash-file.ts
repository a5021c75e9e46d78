import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';

/** The SHA-256 of a part of an open file, or of all that follows `offset`; read piece by piece: files are larger than one buffer may be. */
export function hashRange(handle: number, offset = 0, size: number = Number.POSITIVE_INFINITY): string {
  const hash = createHash('sha256');
  const piece = Buffer.allocUnsafe(1 << 20);
  for (let done = 0; done < size; ) {
    const got = readSync(handle, piece, 0, Math.min(piece.length, size - done), offset + done);
    if (got === 0) break;
    hash.update(piece.subarray(0, got));
    done += got;
  }
  return hash.digest('hex');
}

/** A file's SHA-256. */
export function hashFile(path: string): string {
  const handle = openSync(path, 'r');
  try {
    return hashRange(handle);
  } finally {
    closeSync(handle);
  }
}
