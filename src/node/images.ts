import type { Stats } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { crc32, inflateSync } from 'node:zlib';
import type { Metadata, Sharp } from 'sharp';
import { InputError, messageOf } from '../core/errors.js';
import { decodePng, type PngTools } from '../image/decode-png.js';
import { expectWholeFrame, readGifHeader, withColours, withoutTransparency } from '../image/header-gif.js';
import { checkTiffColours } from '../image/header-tiff.js';
import { type ImageHeader, mostFileBytes, pagesOf, readImageHeader } from '../image/image-header.js';
import type { Picture } from '../image/picture.js';
import { type Look, type Pixels, pixelsFrom } from '../image/pixels.js';
import { expectFile, reasonOf } from './place.js';
import { loadSharp } from './sharp.js';

/** A path, the bytes of an image file, or pixels. */
export type ImageInput = string | Uint8Array | Pixels;

export interface ImageLimits {
  /** Width × height. */
  readonly maxPixels?: number;
  readonly maxBytes?: number;
  /** Frames or pages the file may have; the first is read. */
  readonly maxFrames?: number;
  /** Seconds that decoding may take. */
  readonly timeout?: number;
}

/** A limit given as undefined is the default, not none. */
function withDefaults({ maxPixels = 200e6, maxBytes = mostFileBytes, maxFrames = 10_000, timeout = 60 }: ImageLimits) {
  return { maxPixels, maxBytes, maxFrames, timeout };
}

/**
 * An image's first frame. 'stored' is what PIL gives: alpha dropped, 16-bit gray clipped, no colour management, EXIF orientation
 * not applied; JPEG is within the decoder's tolerance, the rest exact. What the header says is checked before anything is
 * decoded. `page` counts from 0 and is for TIFF. Throws InputError naming the image.
 */
export async function decodeImage(
  image: ImageInput,
  limits: ImageLimits = {},
  page = 0,
  look: Look = 'stored',
): Promise<Pixels> {
  return (await decodePage(image, limits, page, look)).pixels;
}

/** A picture to be read: its first page, and what whoever reads it should know of the rest. */
export async function decodeToRead(
  image: ImageInput,
  limits: ImageLimits | undefined,
  look: Look,
): Promise<{ readonly pixels: Pixels; readonly warnings: readonly string[] }> {
  const { pixels, pages, warnings } = await decodePage(image, limits ?? {}, 0, look);
  const left = `only page 1 of ${pages} was read; varyclip read FILE --out DIR reads all of them`;
  return { pixels, warnings: pages > 1 ? [left] : warnings };
}

/** One page of a file. */
export interface DecodedPage {
  readonly pixels: Pixels;
  /** How many the file has. */
  readonly pages: number;
  /** Of an animation: that it has more than was decoded. */
  readonly warnings: readonly string[];
}

/** A page of an image file, of which `page` counts from 0. Throws InputError naming the image. */
export async function decodePage(
  image: ImageInput,
  limits: ImageLimits,
  page: number,
  look: Look,
): Promise<DecodedPage> {
  if (typeof image === 'object' && 'channels' in image)
    return { pixels: pixelsFrom(image.width, image.height, image.data), pages: 1, warnings: [] };
  const where = typeof image === 'string' ? image : 'image';
  const applied = withDefaults(limits);
  const bytes = typeof image === 'string' ? await readImageFile(image, applied.maxBytes) : image;
  const header = checkHeader(bytes, where, applied);
  try {
    const pixels = await decode(bytes, header, applied, { page, look });
    const [pages, { frames }] = [pagesOf(header), header];
    const still = `only the first of its ${frames} frames was read`;
    return { pixels, pages, warnings: frames > pages ? [still] : [] };
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    const which = pagesOf(header) > 1 ? `page ${page + 1} ` : '';
    throw new InputError(`${where}: ${which}cannot be decoded: ${messageOf(cause)}`, { cause });
  }
}

/** For what fails with an image that came as bytes: such a one has no name of its own. */
export function naming(name: string): (cause: unknown) => never {
  return (cause) => {
    if (!(cause instanceof InputError) || !cause.message.startsWith('image: ')) throw cause;
    throw new InputError(
      cause.message.replace('image', () => name),
      { cause },
    );
  };
}

/** The facts of an image file that is about to be read. Throws InputError where it is none, or too large. */
export function expectImageFile(path: string, maxBytes: number): Stats {
  const facts = expectFile(path, path, 'an image file');
  if (facts.size <= maxBytes) return facts;
  throw new InputError(`${path}: has ${facts.size} bytes, at most ${maxBytes} are allowed`);
}

async function readImageFile(path: string, maxBytes: number): Promise<Uint8Array> {
  expectImageFile(path, maxBytes);
  return readFile(path).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read: ${reasonOf(cause, path)}`, { cause });
  });
}

function checkHeader(
  bytes: Uint8Array,
  where: string,
  { maxBytes, maxPixels, maxFrames }: Required<ImageLimits>,
): ImageHeader {
  if (bytes.length > maxBytes)
    throw new InputError(`${where}: has ${bytes.length} bytes, at most ${maxBytes} are allowed`);
  const header = readImageHeader(bytes, where);
  const { width, height, frames } = header;
  if (width * height > maxPixels) {
    throw new InputError(`${where}: is ${width}×${height} pixels, at most ${maxPixels} are allowed`);
  }
  if (frames > maxFrames) throw new InputError(`${where}: has ${frames} frames, at most ${maxFrames} are allowed`);
  return header;
}

/** Of a PNG of so many pixels sharp takes longer to begin and to end than its pixels take here. */
const fewPixels = 1 << 16;

const pngTools: PngTools = {
  inflate: (stream, size) => {
    try {
      const contents = inflateSync(stream, { maxOutputLength: size });
      return contents.length === size ? contents : undefined;
    } catch {
      return undefined;
    }
  },
  crc32,
};

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** What decoding has to know about samples. */
type Samples = Pick<Metadata, 'depth' | 'space' | 'format'>;

async function decode(
  bytes: Uint8Array,
  { format, plain, ...size }: ImageHeader,
  limits: Required<ImageLimits>,
  { page, look }: { readonly page: number; readonly look: Look },
): Promise<Pixels> {
  if (look === 'stored' && format === 'png' && size.width * size.height <= fewPixels) {
    const pixels = decodePng(bytes, pngTools);
    if (pixels) return pixels;
  }
  const sharp = await loadSharp();
  // Pillow's conversion to RGB leaves an embedded profile aside; libvips would translate the colours by it.
  const options = { limitInputPixels: limits.maxPixels, failOn: 'error', page, ignoreIcc: look === 'stored' } as const;
  const open = (content: Uint8Array) => sharp(content, options).timeout({ seconds: limits.timeout });
  if (format === 'tiff') checkTiffColours(viewOf(bytes), page);
  if (format === 'gif') return decodeGif(bytes, open, look);
  if (look === 'seen') return decodeSeen(open(bytes));
  // Most files are plain, and a second look at them takes as long as a small one's pixels.
  const meta: Samples = plain ? { depth: 'uchar', space: 'srgb', format } : await open(bytes).metadata();
  // Pillow turns a TIFF as its tag says while it reads it; other formats it leaves alone.
  const upright = meta.format === 'tiff' ? open(bytes).autoOrient() : open(bytes);
  const { data, info } = await toPlainChannels(upright, meta)
    .raw({ depth: meta.depth === 'ushort' ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return pixelsFrom(info.width, info.height, toRgb(data, info.channels, meta, bytes));
}

async function decodeSeen(image: Sharp): Promise<Pixels> {
  const { data, info } = await image
    .autoOrient()
    .flatten({ background: '#fff' })
    .toColourspace('srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return pixelsFrom(info.width, info.height, new Uint8Array(data.buffer, data.byteOffset, data.length));
}

/** The first frame with its colours, transparent or not, and one colour where it does not cover the canvas. */
async function decodeGif(bytes: Uint8Array, open: (content: Uint8Array) => Sharp, look: Look): Promise<Pixels> {
  const header = readGifHeader(viewOf(bytes));
  expectWholeFrame(viewOf(bytes), header);
  if (look === 'seen') return decodeSeen(open(withColours(bytes, header)));
  const { first, uncovered } = header;
  // The decoder gives no colour to what is transparent; Pillow's conversion keeps the palette's.
  const { data, info } = await open(withColours(withoutTransparency(bytes, header), header))
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const out = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const covered = x >= first.left && x < first.left + first.width && y >= first.top && y < first.top + first.height;
      for (let c = 0; c < 3; c++)
        out[3 * at + c] = covered ? data[at * channels + (channels < 3 ? 0 : c)] : uncovered[c];
    }
  }
  return pixelsFrom(width, height, out);
}

/** Samples as they are stored: libvips would scale 16 bits where Pillow clips, and manage the colours of CMYK. */
function toPlainChannels(image: Sharp, { space }: Samples): Sharp {
  if (space === 'cmyk') return image.pipelineColourspace('cmyk').toColourspace('cmyk');
  return image.toColourspace(space === 'grey16' || space === 'rgb16' ? space : 'srgb');
}

/** Interleaved samples of 1 to 4 channels as RGB bytes; alpha is dropped, as PIL's convert('RGB') drops it. */
function toRgb(data: Uint8Array, channels: number, { depth, space, format }: Samples, file: Uint8Array): Uint8Array {
  const wide = depth === 'ushort';
  const samples = wide ? new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2) : data;
  if (space === 'cmyk') return cmykToRgb(samples, channels, wide ? 8 : 0);
  if (channels === 3 && !wide) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const [green, blue] = channels < 3 ? [0, 0] : [1, 2];
  // Pillow's mode I;16 clips at 255. Colour, and a PNG's gray with alpha, are read as their high bytes.
  const clips = space === 'grey16' && !(format === 'png' && file[pngColourTypeAt] === pngGrayAlpha);
  const shift = wide && !clips ? 8 : 0;
  const out = new Uint8Array((samples.length / channels) * 3);
  for (let i = 0, o = 0; o < out.length; i += channels, o += 3) {
    out[o] = Math.min(samples[i] >> shift, 255);
    out[o + 1] = Math.min(samples[i + green] >> shift, 255);
    out[o + 2] = Math.min(samples[i + blue] >> shift, 255);
  }
  return out;
}

const pngColourTypeAt = 25;
const pngGrayAlpha = 4;

/**
 * Ink to light as Pillow does it, in whole numbers: light = (255 - K) - C·(255 - K)/255, rounded. Of samples of 16 bits it takes
 * the high bytes: `shift` is 8.
 */
function cmykToRgb(samples: Uint8Array | Uint16Array, channels: number, shift: number): Uint8Array {
  const count = samples.length / channels;
  const out = new Uint8Array(3 * count);
  for (let i = 0; i < count; i++) {
    const light = 255 - (samples[i * channels + 3] >> shift);
    for (let c = 0; c < 3; c++) {
      const product = (samples[i * channels + c] >> shift) * light + 128;
      out[3 * i + c] = light - ((product + (product >> 8)) >> 8);
    }
  }
  return out;
}

/**
 * An image with its transparency, turned as EXIF says, made smaller where its longer side is more than `side`: for training,
 * where exactness does not matter. Throws InputError naming the image.
 */
export async function decodePicture(
  image: string | Uint8Array,
  { side, limits = {} }: { readonly side: number; readonly limits?: ImageLimits },
): Promise<Picture> {
  const where = typeof image === 'string' ? image : 'image';
  const applied = withDefaults(limits);
  const bytes = typeof image === 'string' ? await readImageFile(image, applied.maxBytes) : image;
  checkHeader(bytes, where, applied);
  try {
    const sharp = await loadSharp();
    const { data, info } = await sharp(bytes, { limitInputPixels: applied.maxPixels, failOn: 'error' })
      .autoOrient()
      .resize(side, side, { fit: 'inside', withoutEnlargement: true })
      .toColourspace('srgb')
      .ensureAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data };
  } catch (cause) {
    throw new InputError(`${where}: cannot be decoded: ${messageOf(cause)}`, { cause });
  }
}
