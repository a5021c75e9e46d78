import { InputError } from '../core/errors.js';
import { type Pixels, pixelsFrom } from './pixels.js';

/** ITU T.81, annex K: what each frequency is divided by at quality 50, row by row. */
const lumaTable = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const chromaTable = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99,
];

/** libjpeg's scale of the tables by quality. */
function scaledTable(table: readonly number[], quality: number): Float64Array {
  const percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  return Float64Array.from(table, (step) => Math.min(Math.max(Math.floor((step * percent + 50) / 100), 1), 255));
}

/** cosines[u · 8 + x] of the orthonormal transform. */
const cosines = Float64Array.from({ length: 64 }, (_, i) => {
  const [u, x] = [i >> 3, i & 7];
  return (u === 0 ? Math.SQRT1_2 : 1) * 0.5 * Math.cos(((2 * x + 1) * u * Math.PI) / 16);
});

/** A plane of one channel, padded to whole blocks by repeating its border. */
interface Plane {
  readonly width: number;
  readonly height: number;
  readonly data: Float64Array;
}

/** Every 8x8 block transformed, rounded to the table's steps, and transformed back, in place. */
function roundFrequencies({ width, height, data }: Plane, table: Float64Array): void {
  const block = new Float64Array(64);
  const half = new Float64Array(64);
  for (let top = 0; top < height; top += 8) {
    for (let left = 0; left < width; left += 8) {
      for (let i = 0; i < 64; i++) block[i] = data[(top + (i >> 3)) * width + left + (i & 7)] - 128;
      transform(block, half, false);
      transform(half, block, false);
      for (let i = 0; i < 64; i++) block[i] = Math.round(block[i] / table[i]) * table[i];
      transform(block, half, true);
      transform(half, block, true);
      for (let i = 0; i < 64; i++) {
        data[(top + (i >> 3)) * width + left + (i & 7)] = clampLevel(Math.round(block[i]) + 128);
      }
    }
  }
}

/** One direction of the cosine transform; the result is transposed, so twice is both directions. */
function transform(from: Float64Array, to: Float64Array, inverse: boolean): void {
  for (let row = 0; row < 8; row++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0;
      for (let x = 0; x < 8; x++) sum += from[row * 8 + x] * (inverse ? cosines[x * 8 + u] : cosines[u * 8 + x]);
      to[u * 8 + row] = sum;
    }
  }
}

const clampLevel = (value: number) => Math.min(Math.max(value, 0), 255);
const roundUp = (value: number, to: number) => Math.ceil(value / to) * to;

/** Luma and the two colour differences (JFIF), each on whole blocks of 16 pixels. */
function toPlanes({ width, height, data }: Pixels): readonly [Plane, Plane, Plane] {
  const [w, h] = [roundUp(width, 16), roundUp(height, 16)];
  const make = (): Plane => ({ width: w, height: h, data: new Float64Array(w * h) });
  const planes = [make(), make(), make()] as const;
  for (let y = 0, i = 0; y < h; y++) {
    for (let x = 0; x < w; x++, i++) {
      const p = (Math.min(y, height - 1) * width + Math.min(x, width - 1)) * 3;
      const [r, g, b] = [data[p], data[p + 1], data[p + 2]];
      planes[0].data[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
      planes[1].data[i] = Math.round(128 - 0.168736 * r - 0.331264 * g + 0.5 * b);
      planes[2].data[i] = Math.round(128 + 0.5 * r - 0.418688 * g - 0.081312 * b);
    }
  }
  return planes;
}

/** Half as many columns and rows: the mean of every four. */
function halved({ width, data, ...plane }: Plane): Plane {
  const [w, h] = [width / 2, plane.height / 2];
  const out = new Float64Array(w * h);
  for (let i = 0; i < out.length; i++) {
    const p = Math.floor(i / w) * 2 * width + (i % w) * 2;
    out[i] = Math.floor((data[p] + data[p + 1] + data[p + width] + data[p + width + 1] + 2) / 4);
  }
  return { width: w, height: h, data: out };
}

/** A halved plane at a pixel of the whole, between its four neighbours 3:1 each way (libjpeg's fancy upsampling). */
function upsampled({ width, height, data }: Plane, x: number, y: number): number {
  const [cx, cy] = [x >> 1, y >> 1];
  const nx = Math.min(Math.max(cx + (x & 1 ? 1 : -1), 0), width - 1);
  const ny = Math.min(Math.max(cy + (y & 1 ? 1 : -1), 0), height - 1);
  const near = 3 * data[cy * width + cx] + data[cy * width + nx];
  const far = 3 * data[ny * width + cx] + data[ny * width + nx];
  return (3 * near + far) / 16;
}

/**
 * What a JPEG of quality 1 to 100 makes of an image, without writing one: YCbCr with halved colour planes, frequencies rounded
 * to libjpeg's tables. [H, W, 3] -> [H, W, 3]; within a few levels of libjpeg, the same on every machine.
 */
export function jpegArtifacts(image: Pixels, quality: number): Pixels {
  if (!(quality >= 1 && quality <= 100)) throw new InputError(`JPEG quality: expected 1 to 100, got ${quality}`);
  const { width, height } = image;
  const [luma, blue, red] = toPlanes(image);
  const [cb, cr] = [halved(blue), halved(red)];
  roundFrequencies(luma, scaledTable(lumaTable, quality));
  const chroma = scaledTable(chromaTable, quality);
  for (const plane of [cb, cr]) roundFrequencies(plane, chroma);
  const out = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 3) {
      const level = luma.data[y * luma.width + x];
      const [b, r] = [upsampled(cb, x, y) - 128, upsampled(cr, x, y) - 128];
      out[at] = clampLevel(Math.round(level + 1.402 * r));
      out[at + 1] = clampLevel(Math.round(level - 0.344136 * b - 0.714136 * r));
      out[at + 2] = clampLevel(Math.round(level + 1.772 * b));
    }
  }
  return pixelsFrom(width, height, out);
}
