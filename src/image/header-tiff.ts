import { InputError } from '../core/errors.js';
import type { Size } from './pixels.js';

const tags = {
  width: 256,
  height: 257,
  bits: 258,
  compression: 259,
  photometric: 262,
  colourMap: 320,
  tileWidth: 322,
  tileHeight: 323,
  sampleFormat: 339,
} as const;
const shortType = 3;
/** What samples may be, by the number that says so. */
const [rgb, palette, yCbCr] = [2, 3, 6];
/** How their numbers are written. */
const [signed, float] = [2, 3];
/** JPEG as it was first put into TIFF, and as it is. */
const jpegCompressions = [6, 7];

/** An entry of a page's directory: its number, or where its numbers lie. Only those of 16 or 32 bits matter here. */
interface Entry {
  readonly type: number;
  readonly count: number;
  readonly value: number;
}

/** Entries of a page's directory by their tag. */
function readDirectory(view: DataView, at: number, littleEndian: boolean): ReadonlyMap<number, Entry> {
  const entries = new Map<number, Entry>();
  const size = view.getUint16(at, littleEndian);
  for (let i = 0; i < size; i++) {
    const entry = at + 2 + 12 * i;
    const type = view.getUint16(entry + 2, littleEndian);
    const count = view.getUint32(entry + 4, littleEndian);
    const isNumber = type === shortType && count <= 2;
    const value = isNumber ? view.getUint16(entry + 8, littleEndian) : view.getUint32(entry + 8, littleEndian);
    entries.set(view.getUint16(entry, littleEndian), { type, count, value });
  }
  return entries;
}

const isLittleEndian = (view: DataView) => view.getUint8(0) === 0x49;

/** Where the pages' directories lie: each says where the next one is. */
function* directories(view: DataView, littleEndian: boolean): Generator<number> {
  // A page whose directory lies past the end is not there: the first is all that is read.
  for (let at = view.getUint32(4, littleEndian); at !== 0 && at + 2 <= view.byteLength; ) {
    yield at;
    const next = at + 2 + 12 * view.getUint16(at, littleEndian);
    if (next + 4 > view.byteLength) return;
    at = view.getUint32(next, littleEndian);
  }
}

/** Pages by following the chain of directories; one that comes back to itself is refused. */
function countPages(view: DataView, where: string, littleEndian: boolean): number {
  const seen = new Set<number>();
  for (const at of directories(view, littleEndian)) {
    if (seen.has(at))
      throw new InputError(`${where}: the pages of the tiff follow each other in a circle; it is damaged`);
    seen.add(at);
  }
  return seen.size;
}

/** Size of the first page, and how many pages there are. A tile larger than its page counts as the size: it is allocated. */
export function readTiffHeader(view: DataView, where: string): Size & { readonly frames: number } {
  const littleEndian = isLittleEndian(view);
  const entries = readDirectory(view, view.getUint32(4, littleEndian), littleEndian);
  const extentOf = (tag: number) => entries.get(tag)?.value ?? 0;
  return {
    width: Math.max(extentOf(tags.width), extentOf(tags.tileWidth)),
    height: Math.max(extentOf(tags.height), extentOf(tags.tileHeight)),
    frames: countPages(view, where, littleEndian),
  };
}

/**
 * Throws RangeError for a page whose colours the decoder would get wrong and not say so: it shows the numbers of a missing colour
 * map as gray, and Y, Cb, Cr as red, green, blue; it cuts signed bytes at 0, and floats to whole numbers. `page` counts from 0; the header has been read, so that the pages end.
 */
export function checkTiffColours(view: DataView, page: number): void {
  const littleEndian = isLittleEndian(view);
  let before = page;
  for (const at of directories(view, littleEndian)) {
    if (before-- > 0) continue;
    checkColours(view, readDirectory(view, at, littleEndian));
    return;
  }
}

function checkColours(view: DataView, entries: ReadonlyMap<number, Entry>): void {
  /** The first number of an entry. */
  const numberOf = (tag: number) => {
    const entry = entries.get(tag);
    if (entry?.type !== shortType || entry.count <= 2) return entry?.value ?? 1;
    return view.getUint16(entry.value, isLittleEndian(view));
  };
  const photometric = entries.get(tags.photometric)?.value;
  if (photometric === yCbCr && !jpegCompressions.includes(numberOf(tags.compression))) {
    throw new RangeError(`expected YCbCr compressed as JPEG, got compression ${numberOf(tags.compression)}`);
  }
  const format = numberOf(tags.sampleFormat);
  if ((format === signed && numberOf(tags.bits) === 8) || (format === float && photometric === rgb)) {
    throw new RangeError(`expected unsigned samples, got ${format === float ? 'RGB of floats' : 'signed bytes'}`);
  }
  if (photometric !== palette) return;
  const colours = 2 ** numberOf(tags.bits);
  const map = entries.get(tags.colourMap);
  const isWhole = map?.type === shortType && map.count === 3 * colours && map.value + 2 * map.count <= view.byteLength;
  if (!isWhole)
    throw new RangeError(`expected a colour map of ${colours} colours, got ${map ? 'a part of it' : 'none'}`);
}
