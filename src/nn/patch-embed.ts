import { normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { reshape, slice, transpose } from '../graph/functions.js';
import { linearWith } from './linear.js';

export interface PatchEmbedOptions {
  readonly width: number;
  /** Height and width of a patch. */
  readonly patchSize: readonly [number, number];
  readonly bias: boolean;
}

/**
 * Non-overlapping patches through one linear layer, stored as a convolution's `weight` [width, C, ph, pw] under `proj`: pixels
 * [B, C, H, W] to [B, h, w, width]. Pixels past the last whole patch are left out, as a strided convolution does.
 */
export function patchEmbed(
  s: Scope,
  proj: Scope,
  pixels: Value,
  { width, patchSize: [ph, pw], bias }: PatchEmbedOptions,
): Value {
  const [B, , height, across] = pixels.shape;
  const channels = fixedDimAt(pixels.shape, 1);
  const [h, w] = [Math.floor(Number(height) / ph), Math.floor(Number(across) / pw)];
  const rowsCut = h * ph === height ? pixels : slice(s, pixels, 2, 0, h * ph);
  const whole = w * pw === across ? rowsCut : slice(s, rowsCut, 3, 0, w * pw);
  const patches = transpose(s, reshape(s, whole, [B, channels, h, ph, w, pw]), [0, 2, 4, 1, 3, 5]);
  const inputs = channels * ph * pw;
  const rows = reshape(s, patches, [B, h, w, inputs]); // [B, h, w, C·ph·pw]
  const kernel = proj.parameter('weight', [width, channels, ph, pw], normalInit(1 / Math.sqrt(inputs)));
  const weight = reshape(proj, kernel, [width, inputs]);
  return linearWith(proj, rows, weight, bias ? proj.parameter('bias', [width], zerosInit) : undefined);
}
