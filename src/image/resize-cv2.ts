import { checkSize, copyOf, type Pixels, pixelsFrom, type Size } from './pixels.js';

/** Weights are whole numbers of 2^-11. */
const one = 2048;

/** For each output position: the input at its left and the weights of that one and the next. */
interface Taps {
  readonly at: Int32Array;
  readonly left: Int32Array;
  readonly right: Int32Array;
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** Positions are float32 and the scale is the reciprocal of the inverse one, as in OpenCV: both show in the result. */
function tapsFor(inSize: number, outSize: number): Taps {
  const scale = 1 / (outSize / inSize);
  const at = new Int32Array(outSize);
  const left = new Int32Array(outSize);
  const right = new Int32Array(outSize);
  for (let i = 0; i < outSize; i++) {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const floor = Math.floor(position);
    const fraction = Math.fround(position - floor);
    at[i] = floor;
    left[i] = roundHalfEven(Math.fround(1 - fraction) * one);
    right[i] = roundHalfEven(fraction * one);
  }
  return { at, left, right };
}

/** Horizontally a position outside the image takes the border pixel with full weight. */
function clampColumns({ at, left, right }: Taps, width: number): Taps {
  at.forEach((position, i) => {
    if (position >= 0 && position < width - 1) return;
    at[i] = position < 0 ? 0 : width - 1;
    left[i] = one;
    right[i] = 0;
  });
  return { at, left, right };
}

/** One input row at the output's width, times 2^11. */
function stretchRow(image: Pixels, y: number, { at, left, right }: Taps, out: Int32Array): void {
  const { data } = image;
  const start = y * image.width * 3;
  const last = start + (image.width - 1) * 3;
  for (let x = 0, o = 0; x < at.length; x++, o += 3) {
    const p = start + at[x] * 3;
    const q = p < last ? p + 3 : p;
    const a = left[x];
    const b = right[x];
    out[o] = data[p] * a + data[q] * b;
    out[o + 1] = data[p + 1] * a + data[q + 1] * b;
    out[o + 2] = data[p + 2] * a + data[q + 2] * b;
  }
}

/** The two input rows an output row lies between, each stretched once although neighbours share them. */
function rowReader(image: Pixels, columns: Taps): (y: number, other: number) => Int32Array {
  const rows = [new Int32Array(columns.at.length * 3), new Int32Array(columns.at.length * 3)];
  const holds = [-1, -1];
  return (y, other) => {
    const found = holds.indexOf(y);
    if (found >= 0) return rows[found];
    const slot = holds[0] === other ? 1 : 0;
    stretchRow(image, y, columns, rows[slot]);
    holds[slot] = y;
    return rows[slot];
  };
}

function resizeLinear(image: Pixels, { width, height }: Size): Pixels {
  const columns = clampColumns(tapsFor(image.width, width), image.width);
  const { at, left, right } = tapsFor(image.height, height);
  const rowOf = rowReader(image, columns);
  const clampRow = (y: number) => Math.min(Math.max(y, 0), image.height - 1);
  const out = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    const [y0, y1] = [clampRow(at[y]), clampRow(at[y] + 1)];
    const upper = rowOf(y0, y1);
    const lower = rowOf(y1, y0);
    const a = left[y];
    const b = right[y];
    for (let i = 0; i < upper.length; i++, o++) {
      // The border row is not given full weight: both terms are cut, so it can come out 1 lower than the source.
      out[o] = (((a * (upper[i] >> 4)) >> 16) + ((b * (lower[i] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return pixelsFrom(width, height, out);
}

/** The rounded mean of every 2x2 block. */
function halve(image: Pixels, { width, height }: Size): Pixels {
  const { data } = image;
  const rowLength = image.width * 3;
  const out = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const p = 2 * y * rowLength + 6 * x;
      for (let q = p; q < p + 3; q++, o++) {
        out[o] = (data[q] + data[q + 3] + data[q + rowLength] + data[q + rowLength + 3] + 2) >> 2;
      }
    }
  }
  return pixelsFrom(width, height, out);
}

/**
 * OpenCV's `cv2.resize(image, (width, height), INTER_LINEAR)` of an 8-bit RGB image, bit for bit: no antialiasing, except
 * that exactly one half of both sides is the mean of 2x2 blocks (OpenCV modules/imgproc/src/resize.cpp).
 * [H, W, 3] -> [height, width, 3].
 */
export function resizeCv2Linear(image: Pixels, size: Size): Pixels {
  checkSize(size, 'resizeCv2Linear');
  if (size.width === image.width && size.height === image.height) return copyOf(image);
  const isHalf = image.width === 2 * size.width && image.height === 2 * size.height;
  return isHalf ? halve(image, size) : resizeLinear(image, size);
}
