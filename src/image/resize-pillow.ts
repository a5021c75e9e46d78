import { workIn } from './kernels.js';
import { checkSize, copyOf, type Pixels, pixelsFrom, type Size } from './pixels.js';

/** Pillow's filters at their numbers: `resample: 3` in a preprocessor_config.json is bicubic. */
export const pillowFilters = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'] as const;
export type PillowFilter = (typeof pillowFilters)[number];

/** A filter's weight at a distance in (scaled) pixels, and the distance from which it is zero. */
interface Filter {
  readonly support: number;
  readonly weight: (x: number) => number;
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Keys' cubic with a = -0.5 (OpenCV takes -0.75). */
function cubic(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
}

/** Pillow writes the two constants as C floats, which shows in the weights. */
const hammingBase = Math.fround(0.54);
const hammingSwing = Math.fround(0.46);

function hamming(x: number): number {
  const d = Math.abs(x);
  if (d === 0) return 1;
  return d < 1 ? sinc(d) * (hammingBase + hammingSwing * Math.cos(d * Math.PI)) : 0;
}

const filters: { readonly [F in Exclude<PillowFilter, 'nearest'>]: Filter } = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: hamming },
  bicubic: { support: 2, weight: cubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Weights are whole numbers of 2^-22: with 8-bit pixels and overshoot the sums stay inside int32. The kernels' `weightBits`. */
const precisionBits = 22;

/** For each output position: the first input it reads, how many, and their fixed-point weights (`taps` a row). */
interface Weights {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly values: Int32Array;
  readonly taps: number;
}

function weightsFor(inSize: number, outSize: number, { support, weight }: Filter): Weights {
  const scale = inSize / outSize;
  const stretch = Math.max(scale, 1);
  const reach = support * stretch;
  const taps = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(outSize);
  const count = new Int32Array(outSize);
  const values = new Int32Array(outSize * taps);
  const row = new Float64Array(taps);
  for (let out = 0; out < outSize; out++) {
    const center = (out + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - reach + 0.5));
    const n = Math.min(inSize, Math.trunc(center + reach + 0.5)) - start;
    let sum = 0;
    for (let i = 0; i < n; i++) {
      // Multiplying by the reciprocal, as Pillow does: dividing rounds differently.
      row[i] = weight((i + start - center + 0.5) * (1 / stretch));
      sum += row[i];
    }
    first[out] = start;
    count[out] = n;
    for (let i = 0; i < n; i++) values[out * taps + i] = toFixed(sum === 0 ? row[i] : row[i] / sum);
  }
  return { first, count, values, taps };
}

/** Rounded to the nearest, halves away from zero. */
function toFixed(weight: number): number {
  return Math.trunc(weight * (1 << precisionBits) + (weight < 0 ? -0.5 : 0.5));
}

/** Bytes of pixels that are in the kernels' memory at a time, and not less than what one row needs. */
const strip = 1 << 20;

/** [H, W, 3] -> [H, width, 3] */
function resizeRows({ data, ...image }: Pixels, width: number, filter: Filter): Pixels {
  const { first, values, taps } = weightsFor(image.width, width, filter);
  const [pitch, outPitch] = [image.width * 3, width * 3];
  const rows = Math.max(1, Math.min(image.height, Math.floor(strip / pitch)));
  // Weights past a row's end are 0, but what they stand for is read.
  const { kernels, buffer, at } = workIn(rows * pitch + 3 * taps, 4 * width, 4 * values.length, rows * outPitch);
  const [source, starts, weights, target] = at;
  const bytes = new Uint8Array(buffer);
  new Int32Array(buffer).set(first, starts / 4);
  new Int32Array(buffer).set(values, weights / 4);
  const out = new Uint8Array(image.height * outPitch);
  for (let y = 0; y < image.height; y += rows) {
    const end = Math.min(y + rows, image.height);
    bytes.set(data.subarray(y * pitch, end * pitch), source);
    for (let row = 0; row < end - y; row++)
      kernels.weighPixels(source + row * pitch, starts, weights, taps, width, target + row * outPitch);
    out.set(bytes.subarray(target, target + (end - y) * outPitch), y * outPitch);
  }
  return pixelsFrom(width, image.height, out);
}

/** [H, W, 3] -> [height, W, 3] */
function resizeColumns({ data, ...image }: Pixels, height: number, filter: Filter): Pixels {
  const { first, count, values, taps } = weightsFor(image.height, height, filter);
  const pitch = image.width * 3;
  const endOf = (row: number) => first[row] + count[row];
  const most = Math.min(image.height, Math.max(taps, Math.floor(strip / pitch)));
  const { kernels, buffer, at } = workIn(most * pitch, 4 * values.length, pitch * Math.min(height, most));
  const [source, weights, target] = at;
  const bytes = new Uint8Array(buffer);
  new Int32Array(buffer).set(values, weights / 4);
  const out = new Uint8Array(height * pitch);
  for (let y = 0; y < height; ) {
    // As many as there is room for with what they are made of.
    let end = y + 1;
    while (end < height && end - y < most && endOf(end) - first[y] <= most) end++;
    bytes.set(data.subarray(first[y] * pitch, endOf(end - 1) * pitch), source);
    for (let row = y; row < end; row++) {
      const from = source + (first[row] - first[y]) * pitch;
      kernels.weighRows(from, pitch, weights + 4 * row * taps, count[row], target + (row - y) * pitch);
    }
    out.set(bytes.subarray(target, target + (end - y) * pitch), y * pitch);
    y = end;
  }
  return pixelsFrom(image.width, height, out);
}

/** Input position of every output position. Pillow adds up the step, so its rounding is part of the result. */
function nearestPositions(inSize: number, outSize: number): Int32Array {
  const step = inSize / outSize;
  let at = step * 0.5;
  return Int32Array.from({ length: outSize }, () => {
    const position = Math.trunc(at);
    at += step;
    return position;
  });
}

function resizeNearest(image: Pixels, { width, height }: Size): Pixels {
  const columns = nearestPositions(image.width, width);
  const rows = nearestPositions(image.height, height);
  const out = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++, o += 3) {
      // A position past the end is possible only by rounding; Pillow leaves such pixels black.
      if (columns[x] >= image.width || rows[y] >= image.height) continue;
      const p = (rows[y] * image.width + columns[x]) * 3;
      out[o] = image.data[p];
      out[o + 1] = image.data[p + 1];
      out[o + 2] = image.data[p + 2];
    }
  }
  return pixelsFrom(width, height, out);
}

/** Pillow 13 and later shrink the height first where that saves work; earlier ones always start with the rows. */
function startsWithColumns(image: Pixels, { width, height }: Size): boolean {
  const removed = image.height - height;
  return removed > 0 && removed > 2 * (image.width - width);
}

/**
 * Pillow 13's `Image.resize` of an 8-bit RGB image, bit for bit: antialiased, in two passes with rounding to 8 bits
 * between them (Pillow src/libImaging/Resample.c). [H, W, 3] -> [height, width, 3].
 */
export function resizePillow(image: Pixels, size: Size, name: PillowFilter = 'bicubic'): Pixels {
  checkSize(size, 'resizePillow');
  const { width, height } = size;
  if (width === image.width && height === image.height) return copyOf(image);
  if (name === 'nearest') return resizeNearest(image, size);
  const filter = filters[name];
  if (width === image.width) return resizeColumns(image, height, filter);
  if (height === image.height) return resizeRows(image, width, filter);
  return startsWithColumns(image, size)
    ? resizeRows(resizeColumns(image, height, filter), width, filter)
    : resizeColumns(resizeRows(image, width, filter), height, filter);
}
