import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Gray } from './gray.js';
import { imageNetMean, imageNetStd } from './high-processor.js';
import type { Size } from './pixels.js';

/** The level most of the border has, nearly: the median of its pixels. */
function paperLevel({ width, height, data }: Gray): number {
  const border: number[] = [];
  for (let x = 0; x < width; x++) border.push(data[x], data[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(data[y * width], data[y * width + width - 1]);
  return border.sort((a, b) => a - b)[border.length >> 1];
}

/**
 * Lines of text as a tower's input [lines, 3, height, width]: each at the left of its canvas, filled up at the right with its
 * paper, gray in all channels, normalised like Vary's pages. Throws InputError for a line of another height or too wide.
 */
export function lineTensor(lines: readonly Gray[], { width, height }: Size): Tensor<'float32'> {
  const plane = width * height;
  const data = new Float32Array(lines.length * 3 * plane);
  const scales = imageNetMean.map((mean, channel) => {
    const std = imageNetStd[channel];
    return Float32Array.from({ length: 256 }, (_, level) => (level / 255 - mean) / std);
  });
  lines.forEach((line, i) => {
    if (line.height !== height || line.width > width) {
      throw new InputError(`line ${i}: expected at most ${width}x${height} pixels, got ${line.width}x${line.height}`);
    }
    const paper = paperLevel(line);
    scales.forEach((scale, channel) => {
      const start = (i * 3 + channel) * plane;
      data.fill(scale[paper], start, start + plane);
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < line.width; x++) data[start + y * width + x] = scale[line.data[y * line.width + x]];
      }
    });
  });
  return { dtype: 'float32', shape: [lines.length, 3, height, width], data };
}
