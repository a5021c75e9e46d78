import { InputError } from '../core/errors.js';
import { type Pixels, pixelsFrom, type Rgb, white } from './pixels.js';

/** x' = m0·x + m1·y + m2, y' = m3·x + m4·y + m5: where an input pixel goes. */
export type Affine = readonly [number, number, number, number, number, number];

export interface WarpOptions {
  readonly interpolation?: 'linear' | 'cubic';
  /** What is outside the image. Default white, as a page is. */
  readonly fill?: Rgb;
}

const linearTaps = (t: number, out: Float64Array): void => {
  out[0] = 1 - t;
  out[1] = t;
};

/** Keys' cubic with a = -0.75, OpenCV's. */
const cubicTaps = (t: number, out: Float64Array): void => {
  const a = -0.75;
  out[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
  out[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  out[2] = ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1;
  out[3] = 1 - out[0] - out[1] - out[2];
};

/** A function that writes the colour at (x, y) of an image to out[at..at+2], rounded and cut to a byte. */
function createSampler(
  { width, height, data }: Pixels,
  { interpolation = 'linear', fill = white }: WarpOptions,
): (x: number, y: number, out: Uint8Array, at: number) => void {
  const isCubic = interpolation === 'cubic';
  const [count, before, weigh] = isCubic ? [4, 1, cubicTaps] : [2, 0, linearTaps];
  const [wx, wy] = [new Float64Array(count), new Float64Array(count)];
  return (x, y, out, at) => {
    const [left, top] = [Math.floor(x), Math.floor(y)];
    weigh(x - left, wx);
    weigh(y - top, wy);
    let [red, green, blue] = [0, 0, 0];
    for (let j = 0; j < count; j++) {
      const row = top - before + j;
      for (let i = 0; i < count; i++) {
        const column = left - before + i;
        const weight = wy[j] * wx[i];
        const inside = row >= 0 && row < height && column >= 0 && column < width;
        const p = (row * width + column) * 3;
        red += weight * (inside ? data[p] : fill[0]);
        green += weight * (inside ? data[p + 1] : fill[1]);
        blue += weight * (inside ? data[p + 2] : fill[2]);
      }
    }
    out[at] = toLevel(red);
    out[at + 1] = toLevel(green);
    out[at + 2] = toLevel(blue);
  };
}

const toLevel = (value: number) => Math.min(Math.max(Math.round(value), 0), 255);

/** out(x, y) = image(mapX, mapY) for maps [H, W] (cv2.remap of OpenCV 5, constant border). */
export function remap(image: Pixels, mapX: Float32Array, mapY: Float32Array, options: WarpOptions = {}): Pixels {
  const { width, height } = image;
  if (mapX.length !== width * height || mapY.length !== width * height) {
    throw new InputError(`remap: expected maps of ${width}x${height}, got ${mapX.length} and ${mapY.length} values`);
  }
  const out = new Uint8Array(width * height * 3);
  const sample = createSampler(image, options);
  for (let i = 0; i < mapX.length; i++) sample(mapX[i], mapY[i], out, 3 * i);
  return pixelsFrom(width, height, out);
}

/** First `first`, then `second`. */
export function compose(first: Affine, second: Affine): Affine {
  const [a, b, c, d, e, f] = second;
  const [g, h, i, j, k, l] = first;
  return [a * g + b * j, a * h + b * k, a * i + b * l + c, d * g + e * j, d * h + e * k, d * i + e * l + f];
}

/** The way back. Throws InputError for a transform that folds the plane. */
export function invert([a, b, c, d, e, f]: Affine): Affine {
  const det = a * e - b * d;
  if (!(Math.abs(det) > 1e-12)) throw new InputError('warp: this transform cannot be inverted');
  return [e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det];
}

/** An image of the same size with every pixel moved (cv2.warpAffine, constant border). */
function warpAffine(image: Pixels, transform: Affine, options: WarpOptions = {}): Pixels {
  const { width, height } = image;
  const [a, b, c, d, e, f] = invert(transform);
  const out = new Uint8Array(width * height * 3);
  const sample = createSampler(image, options);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) sample(a * x + b * y + c, d * x + e * y + f, out, at);
  }
  return pixelsFrom(width, height, out);
}

const degrees = Math.PI / 180;
const shift = (x: number, y: number): Affine => [1, 0, x, 0, 1, y];

/** Sheared by angles in degrees about the middle (albumentations Affine: vertically, then horizontally). */
export function shear(image: Pixels, { x = 0, y = 0 }: { readonly x?: number; readonly y?: number }): Pixels {
  const [cx, cy] = [image.width / 2 - 0.5, image.height / 2 - 0.5];
  const vertical: Affine = [1, 0, 0, Math.tan(y * degrees), 1, 0];
  const horizontal: Affine = [1, -Math.tan(x * degrees), 0, 0, 1, 0];
  const steps = [vertical, horizontal, shift(cx, cy)];
  return warpAffine(image, steps.reduce(compose, shift(-cx, -cy)), { interpolation: 'linear' });
}

/** Moved by whole or part pixels. */
export const translate = (image: Pixels, x: number, y: number): Pixels => warpAffine(image, shift(x, y));

export interface ShiftScaleRotate {
  /** Fractions of the width and height. */
  readonly dx: number;
  readonly dy: number;
  readonly scale: number;
  /** Degrees, counter-clockwise. */
  readonly angle: number;
}

/** Scaled and turned about the middle, then moved (albumentations shift_scale_rotate, cv2.getRotationMatrix2D). */
export function shiftScaleRotate(image: Pixels, { dx, dy, scale, angle }: ShiftScaleRotate): Pixels {
  const [cx, cy] = [image.width / 2, image.height / 2];
  const [cos, sin] = [scale * Math.cos(angle * degrees), scale * Math.sin(angle * degrees)];
  const turned: Affine = [cos, sin, 0, -sin, cos, 0];
  const moved = shift(cx + dx * image.width, cy + dy * image.height);
  return warpAffine(image, compose(compose(shift(-cx, -cy), turned), moved), { interpolation: 'cubic' });
}

/** Where each of `length` places reads, the steps between grid lines stretched by `factors`, one more than there are steps. */
function stretchedAxis(length: number, factors: readonly number[]): Float32Array {
  const step = Math.floor(length / (factors.length - 1));
  const out = new Float32Array(length);
  let before = 0;
  factors.forEach((factor, i) => {
    const start = i * step;
    const end = Math.min(start + step, length);
    // The last stretch is what is left over; it ends at the border.
    const now = start + step > length ? length : before + step * factor;
    for (let at = start; at < end; at++) {
      out[at] = end - start > 1 ? before + ((now - before) * (at - start)) / (end - start - 1) : before;
    }
    before = now;
  });
  return out;
}

/** Columns and rows stretched between grid lines (albumentations grid_distortion): factors near 1, one per line. */
export function gridDistortion(image: Pixels, columns: readonly number[], rows: readonly number[]): Pixels {
  const { width, height } = image;
  // A strip without a whole pixel between grid lines has nothing to stretch.
  if (width < columns.length - 1 || height < rows.length - 1) return image;
  const [xs, ys] = [stretchedAxis(width, columns), stretchedAxis(height, rows)];
  const mapX = new Float32Array(width * height);
  const mapY = new Float32Array(width * height);
  for (let i = 0; i < mapX.length; i++) {
    mapX[i] = xs[i % width];
    mapY[i] = ys[Math.floor(i / width)];
  }
  return remap(image, mapX, mapY, { interpolation: 'cubic' });
}

/** A field [H, W] smoothed by a Gaussian cut at 4 sigma, mirrored at the borders (scipy.ndimage.gaussian_filter). */
function gaussianFilter(field: Float32Array, width: number, height: number, sigma: number): Float32Array {
  const radius = Math.floor(4 * sigma + 0.5);
  const weights = Float64Array.from({ length: radius + 1 }, (_, i) => Math.exp((-0.5 * i * i) / (sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight, 0) * 2 - weights[0];
  for (let i = 0; i <= radius; i++) weights[i] /= total;
  const rows = smoothRows(field, width, height, weights);
  return transposed(smoothRows(transposed(rows, width, height), height, width, weights), height, width);
}

function smoothRows(field: Float32Array, width: number, height: number, weights: Float64Array): Float32Array {
  const radius = weights.length - 1;
  const out = new Float32Array(field.length);
  const line = new Float32Array(width + 2 * radius);
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < line.length; i++) line[i] = field[y * width + mirrored(i - radius, width)];
    for (let x = 0; x < width; x++) {
      let sum = weights[0] * line[x + radius];
      for (let k = 1; k <= radius; k++) sum += weights[k] * (line[x + radius - k] + line[x + radius + k]);
      out[y * width + x] = sum;
    }
  }
  return out;
}

/** d c b a | a b c d | d c b a */
function mirrored(at: number, length: number): number {
  const folded = ((at % (2 * length)) + 2 * length) % (2 * length);
  return folded < length ? folded : 2 * length - 1 - folded;
}

function transposed(field: Float32Array, width: number, height: number): Float32Array {
  const out = new Float32Array(field.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[x * height + y] = field[y * width + x];
  return out;
}

export interface Elastic {
  /** Noise [H, W] in -1 … 1, one field a direction. */
  readonly noiseX: Float32Array;
  readonly noiseY: Float32Array;
  /** Pixels of displacement per unit of smoothed noise. */
  readonly alpha: number;
  readonly sigma: number;
  /** By how much three corners of a square in the middle move: x and y of each. */
  readonly corners: readonly number[];
}

/** A small affine change, then every pixel displaced by smoothed noise (albumentations elastic_transform). */
export function elasticTransform(image: Pixels, { noiseX, noiseY, alpha, sigma, corners }: Elastic): Pixels {
  const { width, height } = image;
  // The reference takes (height, width) for (x, y) here.
  const [cx, cy] = [Math.floor(height / 2), Math.floor(width / 2)];
  const side = Math.max(1, Math.floor(Math.min(width, height) / 3));
  const from = [cx + side, cy + side, cx + side, cy - side, cx - side, cy - side];
  const moved = warpAffine(
    image,
    affineThrough(
      from,
      from.map((value, i) => value + corners[i]),
    ),
  );
  const [dx, dy] = [noiseX, noiseY].map((noise) => gaussianFilter(noise, width, height, sigma));
  for (let i = 0; i < dx.length; i++) {
    dx[i] = (i % width) + dx[i] * alpha;
    dy[i] = Math.floor(i / width) + dy[i] * alpha;
  }
  return remap(moved, dx, dy);
}

/** The transform that takes three points to three others: x and y of each (cv2.getAffineTransform). */
function affineThrough(from: readonly number[], to: readonly number[]): Affine {
  const [ax, ay, bx, by, cx, cy] = from;
  const basis: Affine = [bx - ax, cx - ax, ax, by - ay, cy - ay, ay];
  const target: Affine = [to[2] - to[0], to[4] - to[0], to[0], to[3] - to[1], to[5] - to[1], to[1]];
  return compose(invert(basis), target);
}
