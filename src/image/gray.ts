import { ShapeError } from '../core/errors.js';
import type { Pixels } from './pixels.js';

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

/** ITU-R 601 luma, as Pillow's convert('L'). */
export function grayOfPixels({ width, height, data }: Pixels): Gray {
  const count = width * height;
  const gray = new Uint8Array(count);
  for (let i = 0, at = 0; i < count; i++, at += 3) {
    gray[i] = (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 0x8000) >> 16;
  }
  return { width, height, data: gray };
}

/** How many of every `step`th level are each of the 256. */
export function histogramOf(levels: Uint8Array, step = 1): Uint32Array {
  const histogram = new Uint32Array(256);
  for (let i = 0; i < levels.length; i += step) histogram[levels[i]]++;
  return histogram;
}

/** For each output sample `count` weights, those past the last source sample 0. */
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
  const count = Math.floor(2 * support) + 1;
  const starts = new Int32Array(to);
  const weights = new Float32Array(to * count);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const start = Math.max(0, Math.floor(centre - support + 0.5));
    starts[i] = start;
    let sum = 0;
    for (let k = 0; k < count && start + k < from; k++) {
      const weight = Math.max(0, 1 - Math.abs((start + k + 0.5 - centre) / support));
      weights[i * count + k] = weight;
      sum += weight;
    }
    for (let k = 0; k < count; k++) weights[i * count + k] /= sum;
  }
  return { starts, count, weights };
}

/** Resizes one channel by a triangle filter (bilinear, antialiased when it shrinks). */
export function resizePlane(
  plane: Float32Array | Uint8Array,
  from: { width: number; height: number },
  to: { width: number; height: number },
): Float32Array {
  const { width, height } = from;
  const x = triangleTaps(width, to.width);
  const y = triangleTaps(height, to.height);
  const out = new Float32Array(to.width * to.height);
  // Longer than a row by what taps without weight reach past its end.
  const row = new Float32Array(width + x.count);
  for (let i = 0; i < to.height; i++) {
    mixRows(plane, width, y.starts[i] * width, y.weights.subarray(i * y.count, (i + 1) * y.count), row);
    resizeRow(row, x, out, i * to.width, to.width);
  }
  return out;
}

/** The sum of neighbouring rows from `start` on, by their weights: three at a time, since each way through `row` costs as much as a row. */
function mixRows(
  plane: Float32Array | Uint8Array,
  width: number,
  start: number,
  weights: Float32Array,
  row: Float32Array,
): void {
  for (let k = 0; k < weights.length; k += 3) {
    const [first, second = 0, third = 0] = weights.subarray(k, k + 3);
    // A row without weight may lie past the end.
    const upper = first === 0 ? start : start + k * width;
    const middle = second === 0 ? upper : upper + width;
    const lower = third === 0 ? upper : upper + 2 * width;
    if (k === 0) {
      for (let c = 0; c < width; c++)
        row[c] = first * plane[upper + c] + second * plane[middle + c] + third * plane[lower + c];
    } else {
      for (let c = 0; c < width; c++)
        row[c] += first * plane[upper + c] + second * plane[middle + c] + third * plane[lower + c];
    }
  }
}

function resizeRow(row: Float32Array, { starts, count, weights }: Taps, out: Float32Array, at: number, width: number) {
  for (let i = 0; i < width; i++) {
    const [start, first] = [starts[i], i * count];
    let sum = weights[first] * row[start] + weights[first + 1] * row[start + 1] + weights[first + 2] * row[start + 2];
    for (let k = 3; k < count; k++) sum += weights[first + k] * row[start + k];
    out[at + i] = sum;
  }
}

/** Rounds floats to bytes, cut at 0 and 255. */
export function bytesOf(plane: Float32Array): Uint8Array {
  const data = new Uint8Array(plane.length);
  for (let i = 0; i < plane.length; i++) {
    const level = plane[i] + 0.5;
    data[i] = level < 0 ? 0 : level > 255 ? 255 : level;
  }
  return data;
}

/** A gray image in another size, by a triangle filter. */
export function resizeGray(image: Gray, to: { width: number; height: number }): Gray {
  if (to.width === image.width && to.height === image.height) return image;
  return grayFrom(to.width, to.height, bytesOf(resizePlane(image.data, image, to)));
}
