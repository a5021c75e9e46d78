import { joinBytes } from '../core/bytes.js';
import { workIn } from './kernels.js';
import { type Pixels, pixelsFrom } from './pixels.js';

/** What a platform brings for reading PNGs. */
export interface PngTools {
  /** The contents of a zlib stream, `size` bytes; undefined where it has others, or is broken. */
  readonly inflate: (stream: Uint8Array, size: number) => Uint8Array | undefined;
  readonly crc32: (bytes: Uint8Array) => number;
}

/** The facts of a picture whose samples have 8 bits or less. */
interface Header {
  readonly width: number;
  readonly height: number;
  /** Bits a sample. */
  readonly depth: number;
  readonly colour: number;
}

/** By colour type (gray, RGB, palette, gray with alpha, RGB with alpha): samples a pixel, and their bits. */
const channelsOf: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const depthsOf: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8],
  2: [8],
  3: [1, 2, 4, 8],
  4: [8],
  6: [8],
};
const paletteColour = 3;

const kindOf = (name: string) => new DataView(Uint8Array.from(name, (c) => c.charCodeAt(0)).buffer).getUint32(0);
const kinds = { header: kindOf('IHDR'), palette: kindOf('PLTE'), data: kindOf('IDAT'), end: kindOf('IEND') };
const animation = kindOf('acTL');
/** The fifth bit of a chunk's first letter is not set where a decoder must know it. */
const isCritical = (kind: number) => (kind & 0x20000000) === 0;

/** Four letters. */
const isName = (bytes: Uint8Array, at: number) =>
  bytes.subarray(at, at + 4).every((byte) => (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a);

const signatureBytes = 8;

/**
 * The stored colours of a PNG, alpha dropped: what PIL's `convert('RGB')` gives. Undefined where anything about the file is unusual, from
 * interlacing to a wrong checksum: what is broken, and how, is for a complete decoder to say. PNG (ISO/IEC 15948).
 */
export function decodePng(file: Uint8Array, { inflate, crc32 }: PngTools): Pixels | undefined {
  const chunks = readChunks(file, crc32);
  const header = chunks && readHeader(chunks.header);
  if (!header) return undefined;
  const { width, height, depth, colour } = header;
  const bits = depth * channelsOf[colour];
  const rowBytes = Math.ceil((width * bits) / 8);
  const stored = inflate(chunks.data, height * (rowBytes + 1));
  if (!stored) return undefined;
  const { kernels, buffer, at } = workIn(rowBytes + stored.length, 3 * width * height);
  const [whole, out] = at;
  const bytesAt = (start: number, length: number) => new Uint8Array(buffer, start, length);
  // Above the first row all is 0.
  bytesAt(whole, rowBytes).fill(0);
  const start = whole + rowBytes;
  const rows = bytesAt(start, stored.length);
  rows.set(stored);
  if (!kernels.unfilter(start, height, rowBytes, Math.max(1, bits >> 3))) return undefined;
  const palette = paletteOf(header, chunks.palette);
  if (palette) {
    const data = lookUp(unpackSamples(rows, header, rowBytes), width, height, palette);
    return data && pixelsFrom(width, height, data);
  }
  kernels.toRgb(start, width, height, channelsOf[colour], out);
  return pixelsFrom(width, height, bytesAt(out, 3 * width * height).slice());
}

interface Chunks {
  readonly header: Uint8Array;
  readonly palette: Uint8Array | undefined;
  readonly data: Uint8Array;
}

const isPalette = ({ length }: Uint8Array) => length % 3 === 0 && length <= 3 * 256;

/** The chunks that a still picture is made of, in their order and with right checksums. */
function readChunks(bytes: Uint8Array, crc32: PngTools['crc32']): Chunks | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [header, palette]: (Uint8Array | undefined)[] = [];
  const parts: Uint8Array[] = [];
  let before = 0;
  for (let at = signatureBytes; at + 12 <= bytes.length; ) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length || crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) return undefined;
    const kind = view.getUint32(at + 4);
    const content = bytes.subarray(at + 8, end);
    if (kind === kinds.end) return header && parts.length > 0 ? { header, palette, data: joinBytes(parts) } : undefined;
    if ((kind === kinds.header) !== (at === signatureBytes) || !isName(bytes, at + 4)) return undefined;
    if (kind === kinds.header) header = content;
    else if (kind === kinds.palette && palette === undefined && parts.length === 0 && isPalette(content))
      palette = content;
    else if (kind === kinds.data && (parts.length === 0 || before === kind)) parts.push(content);
    else if (isCritical(kind) || kind === animation) return undefined;
    before = kind;
    at = end + 4;
  }
  return undefined;
}

function readHeader(content: Uint8Array): Header | undefined {
  if (content.length !== 13) return undefined;
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour, compression, filter, interlace] = content.subarray(8);
  const isPlain = compression === 0 && filter === 0 && interlace === 0 && width > 0 && height > 0;
  return isPlain && depthsOf[colour]?.includes(depth) ? { width, height, depth, colour } : undefined;
}

/** Samples of less than 8 bits, one a byte: rows of `width`, each with a byte before it as they had. */
function unpackSamples(rows: Uint8Array, { width, height, depth }: Header, rowBytes: number): Uint8Array {
  if (depth === 8) return rows;
  const out = new Uint8Array(height * (width + 1));
  const most = (1 << depth) - 1;
  for (let y = 0, o = 1; y < height; y++, o++) {
    const start = y * (rowBytes + 1) + 1;
    for (let bit = 0; bit < width * depth; bit += depth, o++) {
      out[o] = (rows[start + (bit >> 3)] >> (8 - depth - (bit & 7))) & most;
    }
  }
  return out;
}

/** The colours of samples that are one number each: gray levels of their bits, or what the file says. Of others undefined. */
function paletteOf({ colour, depth }: Header, stored: Uint8Array | undefined): Uint8Array | undefined {
  if (channelsOf[colour] !== 1) return undefined;
  // Without a palette no number has a colour.
  if (colour === paletteColour) return stored ?? new Uint8Array();
  const most = (1 << depth) - 1;
  const levels = new Uint8Array(3 * (most + 1));
  for (let i = 0; i < levels.length; i++) levels[i] = (255 / most) * Math.trunc(i / 3);
  return levels;
}

/** Rows of numbers, each with a byte before it, as colours of a palette. Undefined where a number is of none. */
function lookUp(rows: Uint8Array, width: number, height: number, palette: Uint8Array): Uint8Array | undefined {
  const out = new Uint8Array(3 * width * height);
  for (let y = 0, at = 1, o = 0; y < height; y++, at++) {
    for (let x = 0; x < width; x++, at++, o += 3) {
      const entry = 3 * rows[at];
      if (entry >= palette.length) return undefined;
      out[o] = palette[entry];
      out[o + 1] = palette[entry + 1];
      out[o + 2] = palette[entry + 2];
    }
  }
  return out;
}
