import type { Tensor } from '../core/tensor.js';
import { type Box, type Pixels, pixelsFrom, type Rgb } from './pixels.js';

/** Low to high: dark blue, teal, yellow, red. */
const colours: readonly Rgb[] = [
  [24, 28, 92],
  [32, 144, 140],
  [250, 220, 60],
  [220, 30, 30],
];

/** A colour of the scale; `level` from 0 to 1. */
function colourAt(level: number): Rgb {
  const at = Math.min(1, Math.max(0, level)) * (colours.length - 1);
  const low = Math.min(Math.floor(at), colours.length - 2);
  const mix = (channel: 0 | 1 | 2) =>
    colours[low][channel] + (at - low) * (colours[low + 1][channel] - colours[low][channel]);
  return [mix(0), mix(1), mix(2)];
}

/** A map's value between the centres of its cells; beyond them the nearest. `x` and `y` in cells. */
function valueAt({ shape: [rows, columns], data }: Tensor<'float32'>, x: number, y: number): number {
  const across = Math.min(Math.max(x - 0.5, 0), columns - 1);
  const down = Math.min(Math.max(y - 0.5, 0), rows - 1);
  const [left, top] = [Math.floor(across), Math.floor(down)];
  const [right, bottom] = [Math.min(left + 1, columns - 1), Math.min(top + 1, rows - 1)];
  const row = (r: number) =>
    data[r * columns + left] * (1 - across + left) + data[r * columns + right] * (across - left);
  return row(top) * (1 - down + top) + row(bottom) * (down - top);
}

/**
 * A map [rows, columns] as colours over an image: its lowest value is blue, its highest red. It lies on `region` of the image, in
 * pixels; what lies outside of it was not seen and is dark.
 */
export function drawHeatMap(
  image: Pixels,
  map: Tensor<'float32'>,
  region: Box,
  { opacity = 0.55 }: { readonly opacity?: number } = {},
): Pixels {
  const { width, height, data } = image;
  const [rows, columns] = map.shape;
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of map.data) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const span = high > low ? high - low : 1;
  const out = pixelsFrom(width, height, new Uint8Array(data.length));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [u, v] = [(x + 0.5 - region.left) / region.width, (y + 0.5 - region.top) / region.height];
      const at = 3 * (y * width + x);
      const isSeen = u >= 0 && u < 1 && v >= 0 && v < 1;
      const colour = isSeen ? colourAt((valueAt(map, u * columns, v * rows) - low) / span) : undefined;
      // Gray, so that the picture's own colours are not taken for the map's.
      const gray = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
      for (let c = 0; c < 3; c++) {
        out.data[at + c] = Math.round(colour ? gray * (1 - opacity) + colour[c] * opacity : gray * 0.35);
      }
    }
  }
  return out;
}
