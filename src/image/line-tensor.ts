import { InputError } from '../core/errors.js';
import { floatView, sizeOf, type Tensor } from '../core/tensor.js';
import { type Gray, histogramOf } from './gray.js';
import type { Size } from './pixels.js';

/** What full ink becomes; paper is 0, so that a canvas can be filled up with nothing. */
const inkValue = 2;
/** Lines with less contrast than this are not stretched to full ink: levels of 0 to 255. */
const leastContrast = 24;
/** The share of a line's pixels that are at most as dark as its full ink. */
const inkQuantile = 0.97;

/** The level most of the border has, nearly: the median of its pixels. */
function paperLevel({ width, height, data }: Gray): number {
  const border = new Uint8Array(2 * (width + height));
  border.set(data.subarray(0, width));
  border.set(data.subarray((height - 1) * width, height * width), width);
  for (let y = 0; y < height; y++) {
    border[2 * width + 2 * y] = data[y * width];
    border[2 * width + 2 * y + 1] = data[y * width + width - 1];
  }
  return border.sort()[border.length >> 1];
}

/** For each level what it becomes: signed distance from paper in units of the line's own ink, dark or light. */
function levelTable(line: Gray): Float32Array {
  const counts = histogramOf(line.data);
  const paper = paperLevel(line);
  let lean = 0;
  for (let level = 0; level < 256; level++) lean += counts[level] * (paper - level);
  const sign = lean >= 0 ? 1 : -1;
  let below = inkQuantile * line.data.length;
  let contrast = 0;
  // From the level farthest on paper's side of ink to the fullest ink.
  for (let step = 0; step < 256 && below > 0; step++) {
    const level = sign > 0 ? 255 - step : step;
    below -= counts[level];
    contrast = sign * (paper - level);
  }
  const scale = (sign * inkValue) / Math.max(leastContrast, contrast);
  const values = new Float32Array(256);
  for (let level = 0; level < 256; level++) values[level] = Math.max(-1, Math.min(3, scale * (paper - level))) + 0;
  return values;
}

/** A row of levels by their values. */
function drawRow(
  levels: Uint8Array,
  values: Float32Array,
  into: Float32Array,
  from: number,
  at: number,
  width: number,
) {
  for (let x = 0; x < width; x++) into[at + x] = values[levels[from + x]];
}

/**
 * A line of text as a tower's input, into all of float32 [3, height, width]: at the left of its canvas, the same in all channels,
 * paper 0 and the line's own ink 2, whatever their levels were and whichever of them was the darker. Throws InputError for a line
 * of another height or too wide.
 */
export function drawLine(line: Gray, { width, height }: Size, into: Float32Array): void {
  if (line.height !== height || line.width > width) {
    throw new InputError(`a line: expected at most ${width}x${height} pixels, got ${line.width}x${line.height}`);
  }
  const plane = width * height;
  const values = levelTable(line);
  into.fill(0, 0, plane);
  for (let y = 0; y < height; y++) drawRow(line.data, values, into, y * line.width, y * width, line.width);
  into.copyWithin(plane, 0, plane);
  into.copyWithin(2 * plane, 0, plane);
}

/** Lines as `drawLine` draws them, as a tower's input [lines, 3, height, width]. */
export function lineTensor(lines: readonly Gray[], size: Size): Tensor<'float32'> {
  const shape = [3, size.height, size.width];
  const data = new Float32Array(lines.length * sizeOf(shape));
  lines.forEach((line, i) => {
    drawLine(line, size, data.subarray(i * sizeOf(shape), (i + 1) * sizeOf(shape)));
  });
  return floatView([lines.length, ...shape], data);
}
