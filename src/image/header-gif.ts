import { countGifPixels } from './gif-pixels.js';
import { type Box, black, type Rgb, type Size } from './pixels.js';

/** A colour table: where it lies, and its bytes. */
interface ColourTable {
  readonly at: number;
  readonly length: number;
}

/** A frame's place on the canvas, and its colours, if the file has any for it. */
interface GifFrame extends Box {
  readonly table: ColourTable | undefined;
  /** Where its pixels begin. */
  readonly dataAt: number;
}

/** What a GIF says before its pixels. */
export interface GifHeader extends Size {
  readonly frames: number;
  /** Where the byte lies whose lowest bit makes a colour of the first frame transparent, if it does. */
  readonly transparencyFlagAt: number | undefined;
  /** The part of the canvas that the first frame covers, and its colours. */
  readonly first: GifFrame;
  /** What Pillow shows where the first frame does not cover the canvas. */
  readonly uncovered: Rgb;
}

/** Where the flags of the whole file stand, and where its colours do, if it has some for all frames. */
const [flagsAt, globalTableAt] = [10, 13];
const tableOf256 = 0x87;
const extension = 0x21;
const image = 0x2c;
const graphicControl = 0xf9;

/** Past a chain of data blocks: each has its length in its first byte, 0 ends it. */
function skipBlocks(view: DataView, start: number): number {
  let at = start;
  while (view.getUint8(at) !== 0) at += 1 + view.getUint8(at);
  return at + 1;
}

/** Bytes of a colour table, by the flags that announce it. */
const tableLength = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);

/** Canvas, frames and what concerns the first frame's transparency. Throws RangeError where there is no frame. */
export function readGifHeader(view: DataView): GifHeader {
  const globalFlags = view.getUint8(flagsAt);
  let first: GifFrame | undefined;
  let flagAt: number | undefined;
  let frames = 0;
  // A file cut after a frame still has that frame; whether its pixels are there is the decoder's to say.
  for (let at = globalTableAt + tableLength(globalFlags); at < view.byteLength; ) {
    const kind = view.getUint8(at);
    if (kind === extension) {
      if (!first && view.getUint8(at + 1) === graphicControl) flagAt = view.getUint8(at + 3) & 1 ? at + 3 : undefined;
      at = skipBlocks(view, at + 2);
    } else if (kind === image) {
      first ??= readFrame(view, at, globalFlags);
      frames++;
      at = skipBlocks(view, at + 11 + tableLength(view.getUint8(at + 9)));
    } else break;
  }
  if (!first) throw new RangeError('no frame');
  return {
    width: Math.max(view.getUint16(6, true), first.left + first.width),
    height: Math.max(view.getUint16(8, true), first.top + first.height),
    frames,
    first,
    transparencyFlagAt: flagAt,
    uncovered: colourAt(view, first.table, flagAt === undefined ? 0 : view.getUint8(flagAt + 3)),
  };
}

/** Where a frame lies on the canvas, which grows to it, and where its colours are. */
function readFrame(view: DataView, at: number, globalFlags: number): GifFrame {
  const [own, shared] = [tableLength(view.getUint8(at + 9)), tableLength(globalFlags)];
  const table = own > 0 ? { at: at + 10, length: own } : { at: globalTableAt, length: shared };
  return {
    left: view.getUint16(at + 1, true),
    top: view.getUint16(at + 3, true),
    width: view.getUint16(at + 5, true),
    height: view.getUint16(at + 7, true),
    table: table.length > 0 ? table : undefined,
    dataAt: at + 10 + own,
  };
}

/** Throws RangeError where the first frame's pixels end before it is full. */
export function expectWholeFrame(view: DataView, { first: { width, height, dataAt } }: GifHeader): void {
  const count = countGifPixels(view, dataAt, width * height);
  if (count < width * height)
    throw new RangeError(`expected ${width * height} pixels, got ${count}: the gif is cut off`);
}

/** A colour of a table, black past its end; without a table a number is a level of gray. */
function colourAt(view: DataView, table: ColourTable | undefined, index: number): Rgb {
  if (table === undefined) return [index, index, index];
  if (index * 3 >= table.length) return black;
  const at = table.at + index * 3;
  return [view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2)];
}

/** A copy of a file of whose first frame nothing is transparent. */
export function withoutTransparency(bytes: Uint8Array, { transparencyFlagAt }: GifHeader): Uint8Array {
  const opaque = Uint8Array.from(bytes);
  if (transparencyFlagAt !== undefined) opaque[transparencyFlagAt] &= ~1;
  return opaque;
}

/** A file that shows levels of gray, as Pillow does, where the first frame's numbers have no colours; decoders differ there. */
export function withColours(bytes: Uint8Array, { first }: GifHeader): Uint8Array {
  if (first.table) return bytes;
  const out = new Uint8Array(bytes.length + 3 * 256);
  out.set(bytes.subarray(0, globalTableAt));
  out[flagsAt] |= tableOf256;
  for (let i = 0; i < 3 * 256; i++) out[globalTableAt + i] = Math.trunc(i / 3);
  out.set(bytes.subarray(globalTableAt), globalTableAt + 3 * 256);
  return out;
}
