import { normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { type Dim, dimAt, divideDims, fixedDimAt } from '../graph/dims.js';
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
  const channels = fixedDimAt(pixels.shape, 1);
  const whole = wholePatches(s, wholePatches(s, pixels, 2, ph), 3, pw);
  const [B, , height, across] = whole.shape;
  const [h, w] = [divideDims(height, ph) as Dim, divideDims(across, pw) as Dim];
  const patches = transpose(s, reshape(s, whole, [B, channels, h, ph, w, pw]), [0, 2, 4, 1, 3, 5]);
  const inputs = channels * ph * pw;
  const rows = reshape(s, patches, [B, h, w, inputs]); // [B, h, w, C·ph·pw]
  const kernel = proj.parameter('weight', [width, channels, ph, pw], normalInit(1 / Math.sqrt(inputs)));
  const weight = reshape(proj, kernel, [width, inputs]);
  return linearWith(proj, rows, weight, bias ? proj.parameter('bias', [width], zerosInit) : undefined);
}

/** Pixels without what is past the last whole patch along an axis. */
function wholePatches(s: Scope, pixels: Value, axis: number, side: number): Value {
  if (divideDims(dimAt(pixels.shape, axis), side) !== undefined) return pixels;
  return slice(s, pixels, axis, 0, side * Math.floor(fixedDimAt(pixels.shape, axis) / side));
}
