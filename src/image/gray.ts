import { ShapeError } from '../core/errors.js';
import { workIn } from './kernels.js';
import type { Pixels, Size } from './pixels.js';

/** A gray image: one byte a pixel, rows from the top, 0 is black. */
export interface Gray {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** A gray image over `data`, which is not copied. Throws ShapeError where its length is not width · height. */
export function grayFrom(width: number, height: number, data: Uint8Array): Gray {
  if (data.length !== width * height || data.length === 0) {
    throw new ShapeError(`gray image ${width}x${height}: expected ${width * height} bytes, got ${data.length}`);
  }
  return { width, height, data };
}

/** Pixels that are worked on at a time: what they need stays in the second cache. */
const strip = 65536;

/** ITU-R 601 luma, as Pillow's convert('L'). */
export function grayOfPixels({ width, height, data }: Pixels): Gray {
  const count = width * height;
  const gray = new Uint8Array(count);
  const { kernels, buffer, at } = workIn(3 * strip, strip);
  const bytes = new Uint8Array(buffer);
  for (let from = 0; from < count; from += strip) {
    const length = Math.min(strip, count - from);
    bytes.set(data.subarray(3 * from, 3 * (from + length)), at[0]);
    kernels.grayOfRgb(at[0], at[1], length);
    gray.set(bytes.subarray(at[1], at[1] + length), from);
  }
  return { width, height, data: gray };
}

/** Bytes of the tables that `histogram` counts in. */
export const tableBytes = 4096;

const tablesAt = (buffer: ArrayBuffer, bins: number) => new Uint32Array(buffer, bins, tableBytes / 4);

export const clearCounts = (buffer: ArrayBuffer, bins: number): void => void tablesAt(buffer, bins).fill(0);

/** What `histogram` counted in its tables at `bins`, which become 0 for the next. */
export function takeCounts(buffer: ArrayBuffer, bins: number): Uint32Array {
  const tables = tablesAt(buffer, bins);
  const counts = tables.slice(0, 256);
  for (let i = 256; i < tables.length; i++) counts[i & 255] += tables[i];
  tables.fill(0);
  return counts;
}

/** How many of every `step`th level are each of the 256. */
export function histogramOf(levels: Uint8Array, step = 1): Uint32Array {
  const { kernels, buffer, at } = workIn(levels.length, tableBytes);
  const [data, bins] = at;
  new Uint8Array(buffer).set(levels, data);
  clearCounts(buffer, bins);
  kernels.histogram(data, levels.length, step, bins);
  return takeCounts(buffer, bins);
}

/** The first level up to which at least `count` values lie. */
export function levelAt(histogram: Uint32Array, count: number): number {
  let rest = count;
  for (let level = 0; level < 256; level++) {
    rest -= histogram[level];
    if (rest <= 0) return level;
  }
  return 255;
}

/** For each output sample `count` weights, a multiple of four of them; those past the last source sample 0. */
interface Taps {
  readonly starts: Int32Array;
  readonly count: number;
  readonly weights: Float32Array;
}

/** Weights of the source samples that make each output sample: a triangle as wide as the scale asks for. */
function triangleTaps(from: number, to: number): Taps {
  const scale = from / to;
  const support = Math.max(1, scale);
  // Samples whose middles lie within a triangle's foot.
  const needed = Math.floor(2 * support) + 1;
  const count = 4 * Math.ceil(needed / 4);
  const starts = new Int32Array(to);
  const weights = new Float32Array(to * count);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.floor(centre - support + 0.5));
    starts[i] = start;
    let sum = 0;
    for (let k = 0; k < needed && start + k < from; k++) {
      const weight = Math.max(0, 1 - Math.abs((start + k + 0.5 - centre) / support));
      weights[i * count + k] = weight;
      sum += weight;
    }
    for (let k = 0; k < needed; k++) weights[i * count + k] /= sum;
  }
  return { starts, count, weights };
}

/** An `Axis` of the kernels: addresses of starts and weights, taps, length. */
const axisStructBytes = 16;

/** A plane that was resized, in the kernels' memory. */
function resizeInPlace(plane: Float32Array | Uint8Array, from: Size, to: Size) {
  const x = triangleTaps(from.width, to.width);
  const y = triangleTaps(from.height, to.height);
  const axisBytes = ({ starts, count }: Taps) => 4 * (starts.length + 4) * (1 + count);
  const length = to.width * to.height;
  const { kernels, buffer, at } = workIn(
    plane.byteLength,
    axisBytes(y),
    axisBytes(x),
    2 * axisStructBytes,
    4 * (from.width + x.count),
    4 * length,
    length,
  );
  const [source, yTaps, xTaps, axes, row, out, bytes] = at;
  new Uint8Array(buffer).set(new Uint8Array(plane.buffer, plane.byteOffset, plane.byteLength), source);
  const integers = new Int32Array(buffer);
  const floats = new Float32Array(buffer);
  const putAxis = (axis: number, taps: number, { starts, count, weights }: Taps) => {
    // Four samples are made at a time: the last ones, too many, from anywhere.
    const room = starts.length + 4;
    integers.fill(0, taps / 4, taps / 4 + room);
    integers.set(starts, taps / 4);
    floats.set(weights, taps / 4 + room);
    integers.set([taps, taps + 4 * room, count, starts.length], axis / 4);
  };
  const across = axes + axisStructBytes;
  putAxis(axes, yTaps, y);
  putAxis(across, xTaps, x);
  const resize = plane instanceof Float32Array ? kernels.resizeFloats : kernels.resizeBytes;
  resize(source, from.width, axes, across, row, out);
  return { kernels, buffer, out, bytes, length };
}

/** Resizes one channel by a triangle filter (bilinear, antialiased when it shrinks). */
export function resizePlane(plane: Float32Array | Uint8Array, from: Size, to: Size): Float32Array {
  const { buffer, out, length } = resizeInPlace(plane, from, to);
  return new Float32Array(buffer, out, length).slice();
}

/** Rounds floats to bytes, cut at 0 and 255. */
export function bytesOf(plane: Float32Array): Uint8Array {
  const { kernels, buffer, at } = workIn(plane.byteLength, plane.length);
  new Float32Array(buffer, at[0], plane.length).set(plane);
  kernels.roundToBytes(at[0], plane.length, at[1]);
  return new Uint8Array(buffer, at[1], plane.length).slice();
}

/** A gray image in another size, by a triangle filter. */
export function resizeGray(image: Gray, to: Size): Gray {
  if (to.width === image.width && to.height === image.height) return image;
  const { kernels, buffer, out, bytes, length } = resizeInPlace(image.data, image, to);
  kernels.roundToBytes(out, length, bytes);
  return grayFrom(to.width, to.height, new Uint8Array(buffer, bytes, length).slice());
}
