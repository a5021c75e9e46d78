import { InputError } from '../core/errors.js';
import { readGifHeader } from './header-gif.js';
import { readTiffHeader } from './header-tiff.js';
import type { Size } from './pixels.js';

/** Bytes an image file may have where nothing else is said: 1 GiB. */
export const mostFileBytes: number = 1 << 30;

/** The formats that are read. */
const imageFormats = ['png', 'jpeg', 'webp', 'gif', 'tiff'] as const;
export type ImageFormat = (typeof imageFormats)[number];

/** What the first bytes of an image file say, before anything is decoded. */
export interface ImageHeader extends Size {
  readonly format: ImageFormat;
  /** Frames of an animation or pages of a document, at least 1. */
  readonly frames: number;
  /** Its samples are known to be gray or RGB of 8 bits or less, with alpha or not; where nothing is known, not. */
  readonly plain: boolean;
}

/** A TIFF's pages; of other pictures the first frame is the page. */
export const pagesOf = ({ format, frames }: Pick<ImageHeader, 'format' | 'frames'>): number =>
  format === 'tiff' ? frames : 1;

const hasBytes = (bytes: Uint8Array, at: number, wanted: readonly number[]) =>
  wanted.every((byte, i) => bytes[at + i] === byte);
const hasText = (bytes: Uint8Array, at: number, text: string) =>
  hasBytes(
    bytes,
    at,
    Array.from(text, (letter) => letter.charCodeAt(0)),
  );

const signatures: { readonly [F in ImageFormat]: (bytes: Uint8Array) => boolean } = {
  png: (bytes) => hasBytes(bytes, 0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  jpeg: (bytes) => hasBytes(bytes, 0, [0xff, 0xd8, 0xff]),
  webp: (bytes) => hasText(bytes, 0, 'RIFF') && hasText(bytes, 8, 'WEBP'),
  gif: (bytes) => hasText(bytes, 0, 'GIF87a') || hasText(bytes, 0, 'GIF89a'),
  tiff: (bytes) => hasText(bytes, 0, 'II*\0') || hasText(bytes, 0, 'MM\0*'),
};

/** What else people give where an image is expected, so that the message can say it. */
const others: readonly (readonly [name: string, at: number, start: string])[] = [
  ['a PDF, which `varyclip read FILE --out DIR` reads', 0, '%PDF'],
  ['an SVG or XML file', 0, '<?xml'],
  ['an SVG', 0, '<svg'],
  ['an HTML page', 0, '<!DOCTYPE'],
  ['an HTML page', 0, '<html'],
  ['a BMP', 0, 'BM'],
  ['a HEIF or AVIF', 4, 'ftyp'],
  ['a JPEG 2000', 4, 'jP  '],
  ['a BigTIFF', 0, 'II+\0'],
  ['a BigTIFF', 0, 'MM\0+'],
  ['a ZIP archive', 0, 'PK'],
  ['a Git LFS pointer, not the file itself', 0, 'version https://git-lfs'],
];

/** The format by the first bytes. Throws InputError, naming `where`, for anything that is not read. */
function imageFormatOf(bytes: Uint8Array, where: string): ImageFormat {
  if (bytes.length === 0) throw new InputError(`${where}: is an empty file`);
  const format = imageFormats.find((name) => signatures[name](bytes));
  if (format) return format;
  const other = others.find(([, at, start]) => hasText(bytes, at, start));
  throw new InputError(
    `${where}: expected ${imageFormats.join(', ')}, got ${other ? other[0] : 'something that is not an image'}`,
  );
}

/**
 * Format, size and frames of an image file from its header alone: the time is linear in the file's bytes and nothing is
 * allocated for pixels. Throws InputError, naming `where`, for what is not an image or ends inside its header.
 */
export function readImageHeader(bytes: Uint8Array, where: string): ImageHeader {
  const format = imageFormatOf(bytes, where);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const header = readers[format](view, where);
    if (header.width > 0 && header.height > 0) return { format, plain: false, ...header };
    throw new InputError(`${where}: expected at least 1 pixel, got ${header.width}x${header.height}`);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new InputError(`${where}: the ${format} ends inside its header, or has none`, { cause });
  }
}

type HeaderReader = (view: DataView, where: string) => Size & { readonly frames: number; readonly plain?: boolean };

const readers: { readonly [F in ImageFormat]: HeaderReader } = {
  png: readPngHeader,
  jpeg: readJpegHeader,
  webp: readWebpHeader,
  gif: readGifHeader,
  tiff: readTiffHeader,
};

const textAt = (view: DataView, at: number) =>
  String.fromCharCode(...Array.from({ length: 4 }, (_, i) => view.getUint8(at + i)));

/** IHDR, and the frame count of an animation's acTL, which stands before the pixels. */
function readPngHeader(view: DataView): ReturnType<HeaderReader> {
  if (textAt(view, 12) !== 'IHDR') throw new RangeError('no IHDR');
  const facts = { width: view.getUint32(16), height: view.getUint32(20), plain: view.getUint8(24) <= 8 };
  for (let at = 8; at + 12 <= view.byteLength; at += view.getUint32(at) + 12) {
    const kind = textAt(view, at + 4);
    if (kind === 'acTL') return { ...facts, frames: Math.max(1, view.getUint32(at + 8)) };
    if (kind === 'IDAT') break;
  }
  return { ...facts, frames: 1 };
}

/** A JPEG's frame header, and whether Adobe's mark stands before it. */
export interface JpegFrame extends Size {
  readonly components: number;
  /** Bits a sample. */
  readonly precision: number;
  readonly isAdobe: boolean;
}

/** SOF0 to SOF15 without the three numbers among them that mean something else. */
const isFrameHeader = (marker: number) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
/** RST0 to RST7, SOI and TEM have no length after them. */
const isBare = (marker: number) => (marker >= 0xd0 && marker <= 0xd8) || marker === 0x01;

/** Past 0xff that only fill, and stray bytes between segments: decoders skip them. Throws RangeError where no marker follows. */
function nextMarker(view: DataView, start: number): number {
  let at = start;
  while (view.getUint8(at) !== 0xff || [0x00, 0xff].includes(view.getUint8(at + 1))) at++;
  return at;
}

/** The frame header of a JPEG. Throws RangeError where the file has none before its pixels. */
function readJpegFrame(view: DataView): JpegFrame {
  let isAdobe = false;
  for (let at = 2; ; ) {
    at = nextMarker(view, at);
    const marker = view.getUint8(at + 1);
    if (isBare(marker)) {
      at += 2;
      continue;
    }
    if (isFrameHeader(marker)) {
      const [height, width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
      return { width, height, precision: view.getUint8(at + 4), components: view.getUint8(at + 9), isAdobe };
    }
    if (marker === 0xda || marker === 0xd9) throw new RangeError('no frame header');
    if (marker === 0xee && textAt(view, at + 4) === 'Adob') isAdobe = true;
    at += 2 + view.getUint16(at + 2);
  }
}

function readJpegHeader(view: DataView): ReturnType<HeaderReader> {
  const { width, height, components, precision } = readJpegFrame(view);
  return { width, height, frames: 1, plain: precision === 8 && (components === 1 || components === 3) };
}

const getUint24 = (view: DataView, at: number) => view.getUint16(at, true) | (view.getUint8(at + 2) << 16);

/** The three kinds of WebP: lossy, lossless, and the extended one, whose animation frames are counted. */
function readWebpHeader(view: DataView): ReturnType<HeaderReader> {
  const kind = textAt(view, 12);
  if (kind === 'VP8 ') {
    return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff, frames: 1 };
  }
  if (kind === 'VP8L') {
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1, frames: 1 };
  }
  if (kind !== 'VP8X') throw new RangeError('no WebP header');
  let frames = 0;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    if (textAt(view, at) === 'ANMF') frames++;
    const length = view.getUint32(at + 4, true);
    at += 8 + length + (length % 2);
  }
  return { width: getUint24(view, 24) + 1, height: getUint24(view, 27) + 1, frames: Math.max(1, frames) };
}
