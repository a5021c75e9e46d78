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
  const gray = new Uint8Array(width * height);
  for (let i = 0; i < gray.length; i++) {
    gray[i] = (19595 * data[3 * i] + 38470 * data[3 * i + 1] + 7471 * data[3 * i + 2] + 0x8000) >> 16;
  }
  return { width, height, data: gray };
}

interface Taps {
  readonly starts: Int32Array;
  readonly count: number;
  readonly weights: Float32Array;
}

/** Weights of the source samples that make each output sample: a triangle as wide as the scale asks for. */
function triangleTaps(from: number, to: number): Taps {
  const scale = from / to;
  const support = Math.max(1, scale);
  const count = Math.ceil(support) * 2 + 1;
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
  const row = new Float32Array(width);
  for (let i = 0; i < to.height; i++) {
    row.fill(0);
    for (let k = 0; k < y.count; k++) {
      const weight = y.weights[i * y.count + k];
      if (weight === 0) continue;
      const source = (y.starts[i] + k) * width;
      for (let column = 0; column < width; column++) row[column] += weight * plane[source + column];
    }
    resizeRow(row, x, out.subarray(i * to.width, (i + 1) * to.width));
  }
  return out;
}

function resizeRow(row: Float32Array, { starts, count, weights }: Taps, out: Float32Array): void {
  for (let i = 0; i < out.length; i++) {
    const start = starts[i];
    const taps = Math.min(count, row.length - start);
    let sum = 0;
    for (let k = 0; k < taps; k++) sum += weights[i * count + k] * row[start + k];
    out[i] = sum;
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
