/**
 * 3×3 convolutions of stride 2 before patches are taken, each followed by GELU ("Early Convolutions Help Transformers See Better",
 * arXiv 2106.14881). No published SAM, CLIP or SigLIP has any; the built-in models, which are small, learn much faster with them.
 */
import { InputError } from '../core/errors.js';
import { countField, type JsonObject } from '../core/json.js';
import type { Scope, Value } from '../graph/builder.js';
import { activate } from '../nn/activation.js';
import { conv2d } from '../nn/conv.js';

/** Pixels that one place covers after `stem`, on each side. */
export const stemStride = (stem: readonly number[]): number => 2 ** stem.length;

/** The channels of each convolution from a `config.json`'s `stem`; none if it says none. Patches need to be whole places. */
export function stemFrom(json: JsonObject, patchSides: readonly number[], where: string): readonly number[] {
  const value = json['stem'] ?? [];
  if (!Array.isArray(value)) throw new InputError(`${where}: stem: expected a list of channel counts`);
  const stem = value.map((_, i) => countField({ [`stem[${i}]`]: value[i] }, `stem[${i}]`, where));
  for (const side of patchSides) {
    if (side % stemStride(stem) !== 0) {
      throw new InputError(`${where}: patch_size ${side} is not a multiple of the stem's stride ${stemStride(stem)}`);
    }
  }
  return stem;
}

/** Pixels [B, 3, H, W] as planes [B, C, H / stride, W / stride], the last of `stem` channels. */
export function convStem(s: Scope, pixels: Value, stem: readonly number[]): Value {
  return stem.reduce((x, channels, i) => {
    const conv = s.at(i);
    return activate(conv, conv2d(conv, x, channels, 3, { stride: [2, 2], padding: 1, bias: true }), 'gelu');
  }, pixels);
}
