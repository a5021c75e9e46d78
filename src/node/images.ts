import { readFile, stat } from 'node:fs/promises';
import type { Metadata, Sharp } from 'sharp';
import { InputError, messageOf } from '../core/errors.js';
import { type Pixels, pixelsFrom } from '../image/pixels.js';

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

const defaults: Required<ImageLimits> = { maxPixels: 200e6, maxBytes: 1 << 30, maxFrames: 10_000, timeout: 60 };

/** How files of each format begin; only these reach the decoder. */
const signatures: readonly { readonly format: string; readonly test: (head: Uint8Array) => boolean }[] = [
  { format: 'png', test: (b) => startsWith(b, [0x89, 0x50, 0x4e, 0x47]) },
  { format: 'jpeg', test: (b) => startsWith(b, [0xff, 0xd8, 0xff]) },
  { format: 'gif', test: (b) => startsWith(b, [0x47, 0x49, 0x46, 0x38]) },
  { format: 'tiff', test: (b) => startsWith(b, [0x49, 0x49, 0x2a, 0]) || startsWith(b, [0x4d, 0x4d, 0, 0x2a]) },
  {
    format: 'webp',
    test: (b) => startsWith(b, [0x52, 0x49, 0x46, 0x46]) && startsWith(b.subarray(8), [0x57, 0x45, 0x42, 0x50]),
  },
];

const startsWith = (bytes: Uint8Array, start: readonly number[]) => start.every((byte, i) => bytes[i] === byte);

/**
 * An image as PIL's `Image.open(..).convert('RGB')` gives it: alpha dropped, 16-bit gray clipped, no colour management, EXIF
 * orientation not applied. JPEG is within the decoder's tolerance, PNG exact. Throws InputError naming the image.
 */
export async function decodeImage(image: ImageInput, limits: ImageLimits = {}): Promise<Pixels> {
  if (typeof image === 'object' && 'channels' in image) return pixelsFrom(image.width, image.height, image.data);
  const where = typeof image === 'string' ? image : 'image';
  const applied = { ...defaults, ...limits };
  const bytes = typeof image === 'string' ? await readImageFile(image, applied.maxBytes) : image;
  if (bytes.length === 0) throw new InputError(`${where}: is empty`);
  if (!signatures.some(({ test }) => test(bytes))) {
    throw new InputError(`${where}: is not an image; expected ${signatures.map(({ format }) => format).join(', ')}`);
  }
  try {
    return await decode(bytes, where, applied);
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${where}: cannot be decoded: ${messageOf(cause)}`, { cause });
  }
}

async function readImageFile(path: string, maxBytes: number): Promise<Uint8Array> {
  const stats = await stat(path).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read: ${messageOf(cause)}`, { cause });
  });
  if (!stats.isFile()) throw new InputError(`${path}: expected an image file, got a directory`);
  if (stats.size > maxBytes) throw new InputError(`${path}: has ${stats.size} bytes, at most ${maxBytes} are allowed`);
  return readFile(path).catch((cause: unknown) => {
    throw new InputError(`${path}: cannot be read: ${messageOf(cause)}`, { cause });
  });
}

async function decode(bytes: Uint8Array, where: string, limits: Required<ImageLimits>): Promise<Pixels> {
  const { default: sharp } = await import('sharp');
  sharp.cache(false);
  // The header alone is read here; nothing is allocated for pixels yet.
  const meta = await sharp(bytes, { limitInputPixels: false }).metadata();
  checkHeader(meta, where, limits);
  const input = sharp(bytes, { limitInputPixels: limits.maxPixels, failOn: 'truncated' }).timeout({
    seconds: limits.timeout,
  });
  const { data, info } = await toPlainChannels(input, meta)
    .raw({ depth: meta.depth === 'ushort' ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return pixelsFrom(info.width, info.height, toRgb(data, info.channels, meta));
}

function checkHeader({ width, height, pages = 1 }: Metadata, where: string, limits: Required<ImageLimits>): void {
  if (width * height > limits.maxPixels) {
    throw new InputError(`${where}: is ${width}×${height} pixels, at most ${limits.maxPixels} are allowed`);
  }
  if (pages > limits.maxFrames)
    throw new InputError(`${where}: has ${pages} frames, at most ${limits.maxFrames} are allowed`);
}

/** 16 bits stay 16 bits: libvips would scale what Pillow clips. */
function toPlainChannels(image: Sharp, { space }: Metadata): Sharp {
  return image.toColourspace(space === 'grey16' || space === 'rgb16' ? space : 'srgb');
}

/** Interleaved samples of 1 to 4 channels as RGB bytes; alpha is dropped, as PIL's convert('RGB') drops it. */
function toRgb(data: Uint8Array, channels: number, { depth, space }: Metadata): Uint8Array {
  const wide = depth === 'ushort';
  const samples = wide ? new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2) : data;
  const isGray = channels < 3;
  // Mode I;16 clips at 255; 16-bit colour keeps the high byte.
  const narrow = wide
    ? space === 'grey16'
      ? (v: number) => Math.min(v, 255)
      : (v: number) => v >> 8
    : (v: number) => v;
  const count = samples.length / channels;
  const out = new Uint8Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) out[3 * i + c] = narrow(samples[i * channels + (isGray ? 0 : c)]);
  }
  return out;
}
