import { InputError } from '../core/errors.js';
import { type Pixels, pixelsFrom } from './pixels.js';

/** Each level of every channel replaced by a table's entry: [H, W, 3] -> [H, W, 3]. */
function lookUp(image: Pixels, table: Uint8Array): Pixels {
  return pixelsFrom(
    image.width,
    image.height,
    image.data.map((level) => table[level]),
  );
}

/** Levels below `lower` become `value`: [H, W, 3] -> [H, W, 3] (Vary transforms.py, Bitmap). */
export function bitmap(
  image: Pixels,
  { value = 0, lower = 200 }: { readonly value?: number; readonly lower?: number } = {},
): Pixels {
  return lookUp(
    image,
    Uint8Array.from({ length: 256 }, (_, level) => (level < lower ? value : level)),
  );
}

/** The 2x2 ellipse of OpenCV is the pixel, the one above and the one on the left; outside the image there is nothing. */
function morph(image: Pixels, pick: (a: number, b: number) => number): Pixels {
  const { width, height, data } = image;
  const rowLength = width * 3;
  const out = data.slice();
  for (let i = 0; i < data.length; i++) {
    if (i % rowLength >= 3) out[i] = pick(out[i], data[i - 3]);
    if (i >= rowLength) out[i] = pick(out[i], data[i - rowLength]);
  }
  return pixelsFrom(width, height, out);
}

/** Dark strokes one pixel thicker: [H, W, 3] -> [H, W, 3] (Vary transforms.py, Erosion: cv2.erode, 2x2 ellipse). */
export const erode = (image: Pixels): Pixels => morph(image, Math.min);

/** Dark strokes one pixel thinner: [H, W, 3] -> [H, W, 3] (Vary transforms.py, Dilation: cv2.dilate, 2x2 ellipse). */
export const dilate = (image: Pixels): Pixels => morph(image, Math.max);

const clampLevel = (x: number) => Math.min(Math.max(x, 0), 255);

/** level·contrast + brightness·255, cut to a byte: [H, W, 3] -> [H, W, 3] (albumentations brightness_contrast_adjust, by max). */
export function brightnessContrast(
  image: Pixels,
  { contrast = 1, brightness = 0 }: { readonly contrast?: number; readonly brightness?: number },
): Pixels {
  // The reference's table is float32 and every step rounds, before the fraction is cut off.
  const factor = Math.fround(contrast);
  const shift = Math.fround(brightness * 255);
  const entry = (level: number) => clampLevel(Math.fround(Math.fround(level * factor) + shift));
  return lookUp(
    image,
    Uint8Array.from({ length: 256 }, (_, level) => entry(level)),
  );
}

/** Neighbours of a position, mirrored at the borders without repeating the border itself (BORDER_REFLECT_101). */
function mirrored(at: number, length: number): readonly [number, number] {
  if (length === 1) return [0, 0];
  return [at === 0 ? 1 : at - 1, at === length - 1 ? length - 2 : at + 1];
}

/** The weights [1, 2, 1] both ways, in whole numbers: [H, W, 3] -> [H, W, 3] (cv2.GaussianBlur, 3x3, sigma 0). */
export function gaussianBlur(image: Pixels): Pixels {
  const { width, height, data } = image;
  const rowLength = width * 3;
  const column = new Uint16Array(rowLength);
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    const [above, below] = mirrored(y, height).map((row) => row * rowLength);
    const start = y * rowLength;
    for (let i = 0; i < rowLength; i++) column[i] = data[above + i] + 2 * data[start + i] + data[below + i];
    for (let x = 0, i = 0; x < width; x++) {
      const [left, right] = mirrored(x, width);
      for (let channel = 0; channel < 3; channel++, i++) {
        const sum = column[left * 3 + channel] + 2 * column[i] + column[right * 3 + channel];
        out[start + i] = (sum + 8) >> 4;
      }
    }
  }
  return pixelsFrom(width, height, out);
}

/** Plus `noise` [H, W, 3], cut to a byte, not rounded: [H, W, 3] -> [H, W, 3] (albumentations gauss_noise). */
export function addNoise(image: Pixels, noise: ArrayLike<number>): Pixels {
  const { width, height, data } = image;
  if (noise.length !== data.length) {
    throw new InputError(
      `noise: expected ${data.length} values for an image of ${width}x${height}, got ${noise.length}`,
    );
  }
  return pixelsFrom(
    width,
    height,
    data.map((level, i) => clampLevel(level + noise[i])),
  );
}
