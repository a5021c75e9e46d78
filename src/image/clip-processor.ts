import { InputError } from '../core/errors.js';
import {
  asObject,
  booleanField,
  countField,
  indexField,
  isObject,
  type JsonObject,
  numberField,
} from '../core/json.js';
import type { Tensor } from '../core/tensor.js';
import { type Box, black, crop, type Pixels, pad, type Size } from './pixels.js';
import { type PillowFilter, pillowFilters, resizePillow } from './resize-pillow.js';

/** One number per colour channel. */
export type Channels = readonly [number, number, number];

export interface ClipProcessor {
  /** Shortest edge in pixels, or an exact size; undefined leaves the image as it is. */
  readonly resize: number | Size | undefined;
  readonly filter: PillowFilter;
  readonly crop: Size | undefined;
  /** What pixels are multiplied by; 1 without rescaling. */
  readonly rescale: number;
  readonly normalize: { readonly mean: Channels; readonly std: Channels } | undefined;
}

/** What a configuration without `image_mean` means (transformers OPENAI_CLIP_MEAN). */
export const clipMean: Channels = [0.48145466, 0.4578275, 0.40821073];
const clipStd: Channels = [0.26862954, 0.26130258, 0.27577711];

/** Switches that are null are off (transformers' fast processors write all that they know). */
const nullSwitchesOff = (json: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(json).map(([name, value]) => [name, value === null && name.startsWith('do_') ? false : value]),
  );

/** Steps that no processor of CLIP's or SigLIP's takes. */
const unknownSteps = ['do_pad', 'use_square_size'];

/** CLIPImageProcessor from `preprocessor_config.json`, in the old form (numbers) or the new (objects). */
export function clipProcessorFrom(value: unknown, where = 'preprocessor_config.json'): ClipProcessor {
  const json = nullSwitchesOff(asObject(value, where));
  const step = unknownSteps.find((name) => json[name] === true);
  if (step) throw new InputError(`${where}: ${step}: expected false, got true: this step is not known here`);
  const on = (name: string) => booleanField(json, name, where, true);
  const filter = pillowFilters[indexField(json, 'resample', where, 3)];
  if (!filter) throw new InputError(`${where}: resample: expected 0 to 5, got ${JSON.stringify(json['resample'])}`);
  return {
    resize: on('do_resize') ? resizeOf(json, where) : undefined,
    filter,
    crop: on('do_center_crop') ? cropOf(json['crop_size'], where) : undefined,
    rescale: on('do_rescale') ? numberField(json, 'rescale_factor', where, 1 / 255) : 1,
    normalize: on('do_normalize')
      ? {
          mean: channelsOf(json, 'image_mean', where, clipMean),
          std: channelsOf(json, 'image_std', where, clipStd, isDivisor),
        }
      : undefined,
  };
}

function resizeOf({ size: given, default_to_square: square }: JsonObject, where: string): number | Size {
  if (given === undefined) return 224;
  const size = isObject(given) ? Object.fromEntries(Object.entries(given).filter(([, edge]) => edge !== null)) : given;
  if (isObject(size) && 'shortest_edge' in size && 'longest_edge' in size) {
    throw new InputError(
      `${where}: size: longest_edge: expected shortest_edge alone, or height and width, got ${JSON.stringify(size)}`,
    );
  }
  if (square === true && !isObject(size)) return cropOf(size, where);
  if (isObject(size) && 'height' in size) return sizeOf(size, 'size', where);
  return isObject(size) ? countField(size, 'shortest_edge', `${where}: size`) : countField({ size }, 'size', where);
}

function cropOf(size: unknown, where: string): Size {
  if (size === undefined) return { width: 224, height: 224 };
  if (isObject(size)) return sizeOf(size, 'crop_size', where);
  const side = countField({ crop_size: size }, 'crop_size', where);
  return { width: side, height: side };
}

function sizeOf(json: JsonObject, name: string, where: string): Size {
  return {
    width: countField(json, 'width', `${where}: ${name}`),
    height: countField(json, 'height', `${where}: ${name}`),
  };
}

const isNumber = (value: unknown) => typeof value === 'number' && Number.isFinite(value);
const isDivisor = (value: unknown) => isNumber(value) && value !== 0;

function channelsOf(json: JsonObject, name: string, where: string, other: Channels, ok = isNumber): Channels {
  const value = json[name];
  if (value === undefined) return other;
  if (Array.isArray(value) && value.length === 3 && value.every(ok)) return value as unknown as Channels;
  const kind = ok === isDivisor ? 'three numbers other than 0' : 'three numbers';
  throw new InputError(`${where}: ${name}: expected ${kind}, got ${JSON.stringify(value)}`);
}

/** An image resized and cropped as bytes, as transformers' PIL backend does it. */
export function resizeAndCrop(image: Pixels, processor: ClipProcessor): Pixels {
  const target = targetSize(image, processor.resize);
  const resized = target ? resizePillow(image, target, processor.filter) : image;
  return processor.crop ? centerCrop(resized, processor.crop) : resized;
}

/** The most pixels an image may have between resizing and cropping, 600 MB of RGB. */
const maxResizedPixels = 200e6;

/** The shortest edge at its length, the other truncated (transformers get_resize_output_image_size). */
function targetSize({ width, height }: Pixels, resize: ClipProcessor['resize']): Size | undefined {
  if (typeof resize !== 'number') return resize;
  const [short, long] = width <= height ? [width, height] : [height, width];
  const other = Math.trunc((resize * long) / short);
  // A strip of 1 pixel becomes `resize` times as long: bytes in the file do not bound the memory that takes.
  if (resize * other > maxResizedPixels) {
    throw new InputError(
      `image ${width}x${height}: too elongated, at ${resize} pixels across it would be ${other} long; crop it first`,
    );
  }
  return width <= height ? { width: resize, height: other } : { width: other, height: resize };
}

/**
 * The middle of an image, as transformers 4.32 (Vary's version) has it. Where the image is smaller it stands on zeros and the crop
 * begins at half the difference rounded to zero: an odd difference gives one row or column less. Transformers 5 gives all of them.
 */
function centerCrop(image: Pixels, size: Size): Pixels {
  const canvas = { width: Math.max(image.width, size.width), height: Math.max(image.height, size.height) };
  const [top, bottom, padTop] = cropRange(image.height, size.height, canvas.height);
  const [left, right, padLeft] = cropRange(image.width, size.width, canvas.width);
  const isInside = image.height >= size.height && image.width >= size.width;
  const whole = isInside ? image : pad(image, { left: padLeft, top: padTop, ...canvas }, black);
  return crop(whole, { left, top, width: right - left, height: bottom - top });
}

/** Start and end of the crop on the canvas, and where the image begins there. */
function cropRange(length: number, wanted: number, canvas: number): readonly [number, number, number] {
  const begin = Math.ceil((canvas - length) / 2);
  const start = length >= wanted ? Math.floor((length - wanted) / 2) : Math.trunc((length - wanted) / 2);
  return [Math.max(0, start + begin), Math.min(canvas, start + begin + wanted), begin];
}

/** The part of an image that the tower sees, in the image's own pixels; it may reach beyond it where it is padded. */
export function seenRegion(image: Pixels, processor: ClipProcessor): Box {
  const resized = targetSize(image, processor.resize) ?? image;
  const seen = processor.crop ?? resized;
  const [x, y] = [image.width / resized.width, image.height / resized.height];
  const [left, top] = [(resized.width - seen.width) / 2, (resized.height - seen.height) / 2];
  return { left: left * x, top: top * y, width: seen.width * x, height: seen.height * y };
}

/** An image as CLIP's tower takes it: float32 [3, H, W]. */
export function processClip(image: Pixels, processor: ClipProcessor): Tensor<'float32'> {
  const { width, height, data } = resizeAndCrop(image, processor);
  const plane = width * height;
  const out = new Float32Array(3 * plane);
  const values = new Float32Array(256);
  for (let channel = 0; channel < 3; channel++) {
    const mean = Math.fround(processor.normalize?.mean[channel] ?? 0);
    const std = Math.fround(processor.normalize?.std[channel] ?? 1);
    // numpy's float32: every step rounds.
    const normalized = (level: number) => Math.fround(Math.fround(level * processor.rescale) - mean) / std;
    for (let level = 0; level < 256; level++) values[level] = normalized(level);
    for (let i = 0; i < plane; i++) out[channel * plane + i] = values[data[3 * i + channel]];
  }
  return { dtype: 'float32', shape: [3, height, width], data: out };
}
