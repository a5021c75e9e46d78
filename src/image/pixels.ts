import { InputError } from '../core/errors.js';

/** An RGB image: 8 bits a channel, rows from the top, channels interleaved. `data` has height · width · 3 bytes. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly channels: 3;
  readonly data: Uint8Array;
}

/**
 * How a file becomes pixels: 'stored', as PIL's `Image.open(..).convert('RGB')` gives it to the models that learned from that; or
 * 'seen', as people see it: turned as EXIF says, on white where it is transparent, 16 bits scaled to 8.
 */
export type Look = 'stored' | 'seen';

/** Width and height in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A rectangle in pixels; `left` and `top` count from the top left corner. */
export interface Box extends Size {
  readonly left: number;
  readonly top: number;
}

/** One colour, 0 to 255 a channel. */
export type Rgb = readonly [red: number, green: number, blue: number];

export const black: Rgb = [0, 0, 0];
export const white: Rgb = [255, 255, 255];

/** Throws InputError unless both sides are whole numbers of at least 1. */
export function checkSize({ width, height }: Size, what: string): void {
  if (Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0) return;
  throw new InputError(`${what}: expected sides of at least 1 pixel, got ${width}x${height}`);
}

/** An image over `data`, which is not copied. Throws InputError where its length is not width · height · 3. */
export function pixelsFrom(width: number, height: number, data: Uint8Array): Pixels {
  checkSize({ width, height }, 'image');
  if (data.length !== width * height * 3) {
    throw new InputError(`image ${width}x${height}: expected ${width * height * 3} bytes of RGB, got ${data.length}`);
  }
  return { width, height, channels: 3, data };
}

/** An image of one colour. */
export function filled({ width, height }: Size, colour: Rgb): Pixels {
  const image = pixelsFrom(width, height, new Uint8Array(width * height * 3));
  for (let i = 0; i < 3; i++) image.data[i] = colour[i];
  // Each copy doubles what is already there.
  for (let done = 3; done < image.data.length; done *= 2) image.data.copyWithin(done, 0, done);
  return image;
}

/** A copy of the part of `image` under `box`. Throws InputError where the box leaves the image. */
export function crop(image: Pixels, box: Box): Pixels {
  const { left, top, width, height } = box;
  checkSize(box, 'crop');
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) {
    throw new InputError(
      `crop: ${width}x${height} at (${left}, ${top}) leaves the image of ${image.width}x${image.height}`,
    );
  }
  const out = pixelsFrom(width, height, new Uint8Array(width * height * 3));
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    out.data.set(image.data.subarray(start, start + width * 3), y * width * 3);
  }
  return out;
}

/** A copy of `image` on a larger canvas of one colour, its corner at (left, top). */
export function pad(image: Pixels, canvas: Box, colour: Rgb): Pixels {
  const { left, top, width, height } = canvas;
  if (left < 0 || top < 0 || left + image.width > width || top + image.height > height) {
    throw new InputError(
      `pad: ${image.width}x${image.height} at (${left}, ${top}) does not fit a canvas of ${width}x${height}`,
    );
  }
  const out = filled({ width, height }, colour);
  const rowBytes = image.width * 3;
  for (let y = 0; y < image.height; y++) {
    out.data.set(image.data.subarray(y * rowBytes, (y + 1) * rowBytes), ((top + y) * width + left) * 3);
  }
  return out;
}

/** A copy that shares nothing with `image`. */
export function copyOf(image: Pixels): Pixels {
  return { ...image, data: image.data.slice() };
}
