import { InputError } from '../core/errors.js';
import type { Size } from './pixels.js';

const tags = { width: 256, height: 257, tileWidth: 322, tileHeight: 323 } as const;

/** Entries of a page's directory by their tag; only single numbers of 16 or 32 bits matter here. */
function readDirectory(view: DataView, at: number, littleEndian: boolean): ReadonlyMap<number, number> {
  const entries = new Map<number, number>();
  const count = view.getUint16(at, littleEndian);
  for (let i = 0; i < count; i++) {
    const entry = at + 2 + 12 * i;
    const isShort = view.getUint16(entry + 2, littleEndian) === 3;
    const value = isShort ? view.getUint16(entry + 8, littleEndian) : view.getUint32(entry + 8, littleEndian);
    entries.set(view.getUint16(entry, littleEndian), value);
  }
  return entries;
}

/** Pages by following the chain of directories; one that comes back to itself is refused. */
function countPages(view: DataView, where: string, first: number, littleEndian: boolean): number {
  const seen = new Set<number>();
  // A page whose directory lies past the end is not there: the first is all that is read.
  for (let at = first; at !== 0 && at + 2 <= view.byteLength; ) {
    if (seen.has(at))
      throw new InputError(`${where}: the pages of the tiff follow each other in a circle; it is damaged`);
    seen.add(at);
    const next = at + 2 + 12 * view.getUint16(at, littleEndian);
    if (next + 4 > view.byteLength) break;
    at = view.getUint32(next, littleEndian);
  }
  return seen.size;
}

/** Size of the first page, and how many pages there are. A tile larger than its page counts as the size: it is allocated. */
export function readTiffHeader(view: DataView, where: string): Size & { readonly frames: number } {
  const littleEndian = view.getUint8(0) === 0x49;
  const first = view.getUint32(4, littleEndian);
  const entries = readDirectory(view, first, littleEndian);
  const extentOf = (tag: number) => entries.get(tag) ?? 0;
  return {
    width: Math.max(extentOf(tags.width), extentOf(tags.tileWidth)),
    height: Math.max(extentOf(tags.height), extentOf(tags.tileHeight)),
    frames: countPages(view, where, first, littleEndian),
  };
}
