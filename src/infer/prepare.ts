/** Pictures made ready for a reader, apart from the model: it can be done on another thread. */

import type { Tensor } from '../core/tensor.js';
import { grayOfPixels } from '../image/gray.js';
import { blipTransform, processHigh, testTransform } from '../image/high-processor.js';
import { findLines } from '../image/lines.js';
import type { Look, Pixels } from '../image/pixels.js';
import type { VaryConfig } from '../models/vary.js';
import { type LinePlan, planLines } from './read-lines.js';
import type { ReadOptions } from './reading.js';

/** What a model's pictures must become. */
export interface PrepareSettings {
  readonly input: VaryConfig['input'];
  readonly imageSize: readonly [height: number, width: number];
  readonly transform: NonNullable<ReadOptions['transform']>;
}

/**
 * A page as a whole, with the widths of its lines of text in units of their heights; or cut into lines. `warnings` are of the picture it
 * is from.
 */
export type PreparedImage = (
  | { readonly kind: 'page'; readonly pixels: Tensor<'float32'>; readonly lineAspects: readonly number[] }
  | { readonly kind: 'lines'; readonly plan: LinePlan }
) & { readonly warnings?: readonly string[] };

/** How a model's pictures are decoded: pages as the reference does it, lines, which have none, as people see them. */
export const lookOf = ({ input }: Pick<VaryConfig, 'input'>): Look => (input === 'line' ? 'seen' : 'stored');

/** The memory of a prepared image, for handing it to another thread. */
export const memoryOf = (image: PreparedImage): readonly (Float32Array | Uint8Array)[] =>
  image.kind === 'page' ? [image.pixels.data] : image.plan.pieces.map((piece) => piece.image.data);

export function prepareSettings(
  { input, tower }: VaryConfig,
  { transform = 'test' }: Pick<ReadOptions, 'transform'> = {},
): PrepareSettings {
  return { input, imageSize: tower.imageSize, transform };
}

export function prepareImage(
  image: Pixels,
  { input, imageSize: [height, width], transform }: PrepareSettings,
): PreparedImage {
  if (input === 'line') return { kind: 'lines', plan: planLines(image, { width, height }) };
  const processor = (transform === 'blip' ? blipTransform : testTransform)({ width, height });
  const { lines } = findLines(grayOfPixels(image), { maxSkew: 0 });
  return {
    kind: 'page',
    pixels: processHigh(image, processor),
    lineAspects: lines.map(({ box }) => box.width / box.height),
  };
}
