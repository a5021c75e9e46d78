/**
 * The vision vocabulary of Vary: SAM's ImageEncoderViT (arXiv 2304.02643, segment_anything/modeling/image_encoder.py) with two
 * more strided convolutions (Vary, vary/model/vision_encoder/sam.py). Activations are [B, H, W, C] until the neck.
 *
 * Relative positions are folded into the query: softmax(q·k·s + rel_h + rel_w) is plain attention over [q·s, rel_h, rel_w]
 * and [k, onehot(row), onehot(column)], so that no bias of [heads, HW, HW] is built, unless that is the smaller one. Where folding
 * would more than double the products of queries and keys, and no gradient is wanted, the bias is built a few rows at a time (decision 19).
 */

import { InputError } from '../core/errors.js';
import { asObject, booleanField, countField, indexField, type JsonObject, numberField } from '../core/json.js';
import { floats, ints, type Tensor } from '../core/tensor.js';
import { normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { type Dim, fixedDimAt, multiplyDims } from '../graph/dims.js';
import {
  add,
  broadcastBatch,
  concat,
  gather,
  matMul,
  pad,
  reshape,
  scale,
  slice,
  split,
  sub,
  transpose,
} from '../graph/functions.js';
import { attention } from '../nn/attention.js';
import { conv2d } from '../nn/conv.js';
import { gridAttention } from '../nn/grid-attention.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear, linearWith } from '../nn/linear.js';
import { mlp } from '../nn/mlp.js';
import { patchEmbed } from '../nn/patch-embed.js';
import { convStem, stemFrom, stemStride } from './conv-stem.js';

type Pair = readonly [number, number];

export interface SamConfig {
  /** Height and width of the input in pixels. */
  readonly imageSize: Pair;
  readonly patchSize: Pair;
  /** Channels of the convolutions before the patches; SAM has none. `patchSize` stays in pixels of the input. */
  readonly stem: readonly number[];
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  readonly mlpRatio: number;
  /** Side of the attention windows, in patches. */
  readonly windowSize: number;
  /** Blocks that attend to the whole map. */
  readonly globalBlocks: readonly number[];
  readonly neckChannels: number;
  /** Output channels of `net_2` and `net_3`, 3×3 convolutions of the given strides. */
  readonly netChannels: Pair;
  readonly netStrides: readonly [Pair, Pair];
  /** Of the blocks' LayerNorms; the neck's have their own. */
  readonly epsilon: number;
  readonly absolutePositions: boolean;
  readonly relativePositions: boolean;
  readonly qkvBias: boolean;
  /**
   * Pictures may be narrower than `imageSize`, and as wide as a multiple of this, in pixels: they are its left part, and the rest, which
   * would be empty, is not looked at and is no tokens. 0, as in SAM: they may not.
   */
  readonly widthStep: number;
}

/** `build_sam_vit_b()` of the seed. */
export const samVitB: SamConfig = {
  imageSize: [1024, 1024],
  patchSize: [16, 16],
  stem: [],
  width: 768,
  depth: 12,
  heads: 12,
  mlpRatio: 4,
  windowSize: 14,
  globalBlocks: [2, 5, 8, 11],
  neckChannels: 256,
  netChannels: [512, 1024],
  netStrides: [
    [2, 2],
    [2, 2],
  ],
  epsilon: 1e-6,
  absolutePositions: true,
  relativePositions: true,
  qkvBias: true,
  widthStep: 0,
};

function pairField(json: JsonObject, name: string, where: string, other: Pair): Pair {
  const value = json[name];
  if (value === undefined) return other;
  if (!Array.isArray(value)) {
    const side = countField(json, name, where);
    return [side, side];
  }
  if (value.length !== 2)
    throw new InputError(`${where}: ${name}: expected [height, width], got ${JSON.stringify(value)}`);
  const [height, width] = value.map((_, i) => countField({ [name]: value[i] }, name, where));
  return [height, width];
}

/** A tower's sizes from a `vary_tower` block; what is left out is `build_sam_vit_b()`'s. */
export function samConfigFrom(value: unknown, where: string): SamConfig {
  if (value === undefined) return samVitB;
  const json = asObject(value, where);
  const blocks = json['global_attn_indexes'] ?? samVitB.globalBlocks;
  if (!Array.isArray(blocks)) throw new InputError(`${where}: global_attn_indexes: expected a list of block numbers`);
  const strides = json['net_strides'];
  const strideAt = (i: number) => pairField({ s: Array.isArray(strides) ? strides[i] : undefined }, 's', where, [2, 2]);
  const patchSize = pairField(json, 'patch_size', where, samVitB.patchSize);
  const config: SamConfig = {
    imageSize: pairField(json, 'img_size', where, samVitB.imageSize),
    patchSize,
    stem: stemFrom(json, patchSize, where),
    width: countField(json, 'embed_dim', where, samVitB.width),
    depth: countField(json, 'depth', where, samVitB.depth),
    heads: countField(json, 'num_heads', where, samVitB.heads),
    mlpRatio: numberField(json, 'mlp_ratio', where, samVitB.mlpRatio),
    windowSize: indexField(json, 'window_size', where, samVitB.windowSize),
    globalBlocks: blocks.map((_, i) => indexField({ global_attn_indexes: blocks[i] }, 'global_attn_indexes', where)),
    neckChannels: countField(json, 'out_chans', where, samVitB.neckChannels),
    netChannels: [
      countField(json, 'net_2', where, samVitB.netChannels[0]),
      countField(json, 'net_3', where, samVitB.netChannels[1]),
    ],
    netStrides: [strideAt(0), strideAt(1)],
    epsilon: numberField(json, 'layer_norm_eps', where, samVitB.epsilon),
    absolutePositions: booleanField(json, 'use_abs_pos', where, true),
    relativePositions: booleanField(json, 'use_rel_pos', where, true),
    qkvBias: booleanField(json, 'qkv_bias', where, true),
    widthStep: indexField(json, 'width_step', where, 0),
  };
  if (config.width % config.heads !== 0) {
    throw new InputError(`${where}: embed_dim ${config.width} is not a multiple of num_heads ${config.heads}`);
  }
  config.imageSize.forEach((side, i) => {
    if (side % config.patchSize[i] !== 0) {
      throw new InputError(`${where}: img_size ${side} is not a multiple of patch_size ${config.patchSize[i]}`);
    }
  });
  const columns = config.patchSize[1] * columnsPerToken(config);
  for (const width of config.widthStep > 0 ? [config.widthStep, config.imageSize[1]] : []) {
    if (width % columns === 0) continue;
    throw new InputError(`${where}: width_step: ${width} pixels are not a multiple of a token's ${columns}`);
  }
  if (config.widthStep > 0 && (config.windowSize > 0 || config.imageSize[0] !== config.patchSize[0])) {
    throw new InputError(`${where}: width_step needs one row of patches and no windows`);
  }
  return config;
}

/**
 * The narrowest input that a picture of this width fits with an empty column behind it, in pixels; the widest, where none. A reader
 * that sees no end of the line goes on: without that column 1.3 % of the characters of lines are wrong, with it 0.9 %.
 */
export const canvasWidth = ({ imageSize: [, whole], patchSize, widthStep }: SamConfig, width: number): number =>
  widthStep === 0 ? whole : Math.min(whole, Math.ceil((width + patchSize[1]) / widthStep) * widthStep);

/** Throws InputError for pixels of a size that the tower does not take. */
export function expectCanvas(config: SamConfig, [height, width]: Pair): void {
  const { imageSize, widthStep } = config;
  const isNarrower = widthStep > 0 && width > 0 && width < imageSize[1] && width % widthStep === 0;
  if (height === imageSize[0] && (width === imageSize[1] || isNarrower)) return;
  const narrower = widthStep === 0 ? '' : `, or narrower by whole steps of ${widthStep}`;
  throw new InputError(
    `tower: expected ${imageSize.join('×')} pixels${narrower}, got ${height}×${width}: positions are not interpolated`,
  );
}

/** Patches down and across for an image of the given size. */
const gridOf = ({ imageSize, patchSize }: SamConfig, size: Pair = imageSize): Pair => [
  size[0] / patchSize[0],
  size[1] / patchSize[1],
];

/** Tokens that one image becomes; `width` in pixels, where the tower takes narrower ones. */
export function samTokens(config: SamConfig, width: number = config.imageSize[1]): number {
  const shrink = (side: number, axis: 0 | 1) =>
    config.netStrides.reduce((extent, stride) => Math.ceil(extent / stride[axis]), side);
  const [rows, columns] = gridOf(config, [config.imageSize[0], width]);
  return shrink(rows, 0) * shrink(columns, 1);
}

/** Columns of patches that become one token. */
export const columnsPerToken = ({ netStrides: [[, first], [, second]] }: SamConfig): number => first * second;

/** The numbers of a picture's columns of patches: what a tower of narrower pictures takes beside `width` pixels. int64 [columns]. */
export function columnNumbers({ patchSize }: SamConfig, width: number): Tensor<'int64'> {
  const columns = width / patchSize[1];
  return ints(
    [columns],
    Array.from({ length: columns }, (_, i) => i),
  );
}

/** Patches of pixels [B, 3, H, W] as [B, h, w, C], plus absolute positions. */
function embedPatches(s: Scope, pixels: Value, config: SamConfig, numbers: Value | undefined): Value {
  const at = s.at('patch_embed');
  const planes = convStem(at.at('stem'), pixels, config.stem);
  const shrink = stemStride(config.stem);
  const patchSize: Pair = [config.patchSize[0] / shrink, config.patchSize[1] / shrink];
  const x = patchEmbed(s, at.at('proj'), planes, { width: config.width, patchSize, bias: true });
  const [, , height, width] = pixels.shape;
  s.tap('patch_embed', x);
  if (!config.absolutePositions) return x;
  const [rows, columns] = gridOf(config);
  if (typeof width === 'number') expectCanvas(config, [Number(height), width]);
  const positions = s.parameter('pos_embed', [1, rows, columns, config.width], normalInit(0.02));
  return add(s, x, numbers ? gather(s, positions, numbers, 2) : positions);
}

/** get_rel_pos: the rows of a table [L, D] for each distance between `queries` and `keys` places: [queries, keys, D]. */
export function relativePositions(s: Scope, table: Value, queries: number, keys: number): Value {
  const length = fixedDimAt(table.shape, 0);
  const distances = 2 * Math.max(queries, keys) - 1;
  const fitted = length === distances ? table : matMul(s, linearInterpolation(s, length, distances), table);
  const [qStep, kStep] = [Math.max(keys / queries, 1), Math.max(queries / keys, 1)];
  const indices: number[] = [];
  for (let q = 0; q < queries; q++) {
    for (let k = 0; k < keys; k++) indices.push(Math.trunc(q * qStep - k * kStep + (keys - 1) * kStep));
  }
  return gather(s, fitted, s.constant(ints([queries, keys], indices)));
}

/** The matrix [to, from] of F.interpolate(mode='linear', align_corners=False). */
function linearInterpolation(s: Scope, from: number, to: number): Value {
  const weights = new Float32Array(to * from);
  for (let row = 0; row < to; row++) {
    const at = Math.max(0, Math.fround((row + 0.5) * (from / to) - 0.5));
    const low = Math.min(Math.floor(at), from - 1);
    weights[row * from + low] += 1 - (at - low);
    weights[row * from + Math.min(low + 1, from - 1)] += at - low;
  }
  return s.constant(floats([to, from], weights));
}

/** One-hot rows and columns of every place of a grid, for each head: [1, h·w, heads, h + w]. */
function gridOneHot(s: Scope, h: number, w: number, heads: number): Value {
  const data = new Float32Array(h * w * heads * (h + w));
  for (let place = 0; place < h * w; place++) {
    for (let head = 0; head < heads; head++) {
      const at = (place * heads + head) * (h + w);
      data[at + Math.floor(place / w)] = 1;
      data[at + h + (place % w)] = 1;
    }
  }
  return s.constant(floats([1, h * w, heads, h + w], data));
}

/** Constants that all blocks of a grid share. */
type SharedConstants = Map<string, Value>;

/** What blocks need beside their map. */
interface BlockContext {
  readonly shared: SharedConstants;
  readonly numbers: Value | undefined;
}

/** What attention within a map needs beside: whether it is the whole one or windows of it. */
interface MapContext extends BlockContext {
  readonly isWhole: boolean;
}

/** A vector for each distance between rows, and between columns, of a grid of these sides: `rel_pos_h` and `rel_pos_w`. */
const positionTables = (s: Scope, sides: Pair, D: number): readonly Value[] =>
  sides.map((side, i) => s.parameter(`rel_pos_${'hw'[i]}`, [2 * side - 1, D], zerosInit));

/** Attention within [N, h, w, 3C] of projected queries, keys and values: [N, h, w, C]. */
function mapAttention(s: Scope, qkv: Value, config: SamConfig, context: MapContext): Value {
  const { heads, width } = config;
  const [N, h, w] = qkv.shape;
  const [q, k, v] = split(s, reshape(s, qkv, [N, multiplyDims(h, w), 3 * width]), [width, width, width], 2); // [N, hw, C]
  const mixed = config.relativePositions
    ? positionedAttention(s, [q, k, v], [Number(h), Number(w)], config, context)
    : attention(s, q, k, v, { heads, scale: (width / heads) ** -0.5 });
  return reshape(s, mixed, [N, h, w, width]);
}

/** Attention with what relative positions add to scores: q, k, v [N, hw, C] to [N, hw, C]. With `numbers`, w need not be known. */
function positionedAttention(
  s: Scope,
  [q, k, v]: readonly Value[],
  [h, w]: Pair,
  config: SamConfig,
  { shared, numbers, isWhole }: MapContext,
): Value {
  const { heads, width } = config;
  const [N] = q.shape;
  const D = width / heads;
  const options = { heads, scale: D ** -0.5 };
  if (numbers) return attention(s, q, k, v, { ...options, bias: rowBias(s, q, config, numbers) });
  const [tableH, tableW] = positionTables(s, isWhole ? gridOf(config) : [config.windowSize, config.windowSize], D);
  const rh = relativePositions(s, tableH, h, h); // [h, h, D]
  const rw = relativePositions(s, tableW, w, w); // [w, w, D]
  const qh = reshape(s, q, [N, h, w * heads, D]);
  const relH = reshape(s, matMul(s, qh, transpose(s, rh, [0, 2, 1])), [N, h * w, heads, h]);
  const qw = reshape(s, transpose(s, reshape(s, q, [N, h, w, heads, D]), [0, 2, 1, 3, 4]), [N, w, h * heads, D]);
  const byColumn = reshape(s, matMul(s, qw, transpose(s, rw, [0, 2, 1])), [N, w, h, heads, w]);
  const relW = reshape(s, transpose(s, byColumn, [0, 2, 1, 3, 4]), [N, h * w, heads, w]);
  // Of windows all scores together are few.
  if (isWhole && s.lowering.attention === 'fused' && h + w > D)
    return gridAttention(s, [q, k, v], [relH, relW], options);
  return h * w > 2 * (h + w)
    ? foldedAttention(s, [q, k, v], [relH, relW], config, shared)
    : attention(s, q, k, v, { ...options, bias: gridBias(s, relH, relW) });
}

/**
 * What the positions of one row of any number of places add to the score of query and key: [N, heads, w, w]. The one distance between
 * rows is added to each between columns.
 */
function rowBias(s: Scope, q: Value, config: SamConfig, numbers: Value): Value {
  const { heads, width } = config;
  const [N, w] = q.shape;
  const D = width / heads;
  const sides = gridOf(config);
  const [tableH, tableW] = positionTables(s, sides, D);
  const apart = sub(s, reshape(s, numbers, [w, 1]), reshape(s, numbers, [1, w]));
  const rw = gather(s, tableW, add(s, apart, s.constant(ints([], [sides[1] - 1])))); // [w, w, D]
  const both = transpose(s, add(s, rw, tableH), [0, 2, 1]);
  const scores = matMul(s, reshape(s, q, [N, w, heads, D]), both); // [N, w, heads, w]
  return transpose(s, scores, [0, 2, 1, 3]);
}

/** What two positions of a grid add to the score of query and key: rel_h [N, hw, heads, h] and rel_w [N, hw, heads, w] as [N, heads, hw, hw]. */
function gridBias(s: Scope, relH: Value, relW: Value): Value {
  const [N, places, heads, h] = relH.shape;
  const w = fixedDimAt(relW.shape, 3);
  const [byRow, byColumn] = [relH, relW].map((x) => transpose(s, x, [0, 2, 1, 3])); // [N, heads, hw, h] and w
  const rows = reshape(s, byRow, [N, Number(heads) * Number(places), Number(h), 1]);
  const columns = reshape(s, byColumn, [N, Number(heads) * Number(places), 1, w]);
  return reshape(s, add(s, rows, columns), [N, heads, places, places]);
}

/** The positions as more dimensions of queries and keys: where they are fewer numbers than a bias of every pair of places. */
function foldedAttention(
  s: Scope,
  [q, k, v]: readonly Value[],
  [relH, relW]: readonly Value[],
  { heads, width }: SamConfig,
  shared: SharedConstants,
): Value {
  const [N, places] = q.shape;
  const [h, w, D] = [fixedDimAt(relH.shape, 3), fixedDimAt(relW.shape, 3), width / heads];
  const key = `${h}×${w}`;
  const oneHot = shared.get(key) ?? gridOneHot(s, h, w, heads);
  shared.set(key, oneHot);
  const folded = D + h + w;
  const perHead = (x: Value) => reshape(s, x, [N, places, heads, D]);
  const Q = concat(s, [perHead(scale(s, q, D ** -0.5)), relH, relW], 3); // [N, hw, heads, D + h + w]
  const K = concat(s, [perHead(k), broadcastBatch(s, oneHot, perHead(k))], 3);
  const flat = (x: Value) => reshape(s, x, [N, places, heads * folded]);
  return attention(s, flat(Q), flat(K), v, { heads, scale: 1 });
}

const isGlobal = (config: SamConfig, block: number) => config.windowSize === 0 || config.globalBlocks.includes(block);

/**
 * One transformer block on [B, h, w, C]. The reference pads the normalised map with zeros to whole windows and projects the
 * padding too; its projection is the bias alone, so the bias is added after padding instead. The output projection commutes
 * with cutting the padding off, so it runs on the real places only.
 */
function samBlock(s: Scope, x: Value, block: number, config: SamConfig, context: BlockContext): Value {
  const { width } = config;
  const [B, h, w] = x.shape;
  const at = s.at('attn');
  const qkv = at.at('qkv');
  const normed = layerNorm(s.at('norm1'), x, config);
  let mixed: Value;
  if (isGlobal(config, block)) {
    mixed = mapAttention(at, linear(qkv, normed, 3 * width, { bias: config.qkvBias }), config, {
      ...context,
      isWhole: true,
    });
  } else {
    const side = config.windowSize;
    const windows = partition(at, linear(qkv, normed, 3 * width, { bias: false }), side); // [B·windows, side, side, 3C]
    const biased = config.qkvBias ? add(at, windows, qkv.parameter('bias', [3 * width], zerosInit)) : windows;
    mixed = unpartition(
      at,
      mapAttention(at, biased, config, { ...context, isWhole: false }),
      [B, Number(h), Number(w)],
      side,
    );
  }
  const joined = add(s, x, linear(at.at('proj'), mixed, width));
  const hidden = Math.floor(width * config.mlpRatio);
  const fed = mlp(s.at('mlp'), layerNorm(s.at('norm2'), joined, config), {
    hidden,
    activation: 'gelu',
    names: ['lin1', 'lin2'],
  });
  return add(s, joined, fed);
}

/** [B, h, w, C], zero-padded at the bottom and right to whole windows: [B·windows, side, side, C]. */
function partition(s: Scope, x: Value, side: number): Value {
  const [B, h, w, C] = x.shape;
  const [down, across] = [Math.ceil(Number(h) / side), Math.ceil(Number(w) / side)];
  const padded = pad(s, x, { 1: [0, down * side - Number(h)], 2: [0, across * side - Number(w)] });
  const windows = transpose(s, reshape(s, padded, [B, down, side, across, side, C]), [0, 1, 3, 2, 4, 5]);
  return reshape(s, windows, [multiplyDims(B, down * across), side, side, C]);
}

/** The inverse, without the padding: [B, h, w, C]. */
function unpartition(s: Scope, x: Value, [B, h, w]: readonly [Dim, number, number], side: number): Value {
  const [down, across] = [Math.ceil(h / side), Math.ceil(w / side)];
  const C = fixedDimAt(x.shape, 3);
  const windows = transpose(s, reshape(s, x, [B, down, across, side, side, C]), [0, 1, 3, 2, 4, 5]);
  const whole = reshape(s, windows, [B, down * side, across * side, C]);
  const rows = down * side === h ? whole : slice(s, whole, 1, 0, h);
  return across * side === w ? rows : slice(s, rows, 2, 0, w);
}

/** LayerNorm2d's in the neck, whatever the blocks have. */
const neckEpsilon = 1e-6;

/** Neck and Vary's two convolutions: [B, h, w, C] to tokens [B, T, C'], row major over the shrunken map. */
function neck(s: Scope, x: Value, config: SamConfig): Value {
  const channels = config.neckChannels;
  const parts = s.at('neck');
  const kernel = parts.at(0).parameter('weight', [channels, config.width, 1, 1], normalInit(config.width ** -0.5));
  const narrow = linearWith(parts.at(0), x, reshape(parts.at(0), kernel, [channels, config.width])); // [B, h, w, neck]
  const toPlanes = (value: Value) => transpose(s, value, [0, 3, 1, 2]);
  const toPlaces = (value: Value) => transpose(s, value, [0, 2, 3, 1]);
  const normed = toPlanes(layerNorm(parts.at(1), narrow, { epsilon: neckEpsilon })); // [B, neck, h, w]
  const mixed = toPlaces(conv2d(parts.at(2), normed, channels, 3, { padding: 1 }));
  const out = s.tap('neck', toPlanes(layerNorm(parts.at(3), mixed, { epsilon: neckEpsilon })));
  const [c2, c3] = config.netChannels;
  const net2 = s.tap('net_2', conv2d(s.at('net_2'), out, c2, 3, { stride: config.netStrides[0], padding: 1 }));
  const net3 = s.tap('output', conv2d(s.at('net_3'), net2, c3, 3, { stride: config.netStrides[1], padding: 1 }));
  const [B, C, h, w] = net3.shape;
  return transpose(s, reshape(s, net3, [B, C, multiplyDims(h, w)]), [0, 2, 1]); // [B, T, C']
}

/**
 * The steps of a tower between which it can be cut: patches, blocks, neck. One that takes narrower pictures needs the numbers of
 * their columns too: see `columnNumbers`.
 */
export function samStages(config: SamConfig, numbers?: Value): readonly ((s: Scope, x: Value) => Value)[] {
  const context = { shared: new Map(), numbers };
  const blocks = Array.from({ length: config.depth }, (_, i) => (s: Scope, x: Value) => {
    return s.tap(`block.${i}`, samBlock(s.at('blocks').at(i), x, i, config, context));
  });
  return [(s, x) => embedPatches(s, x, config, numbers), ...blocks, (s, x) => neck(s, x, config)];
}

/** The whole tower: pixels [B, 3, H, W] of known extents to tokens [B, T, netChannels[1]]. */
export function samTower(s: Scope, pixels: Value, config: SamConfig): Value {
  const numbers = config.widthStep > 0 ? s.constant(columnNumbers(config, fixedDimAt(pixels.shape, 3))) : undefined;
  return samStages(config, numbers).reduce((x, stage) => stage(s, x), pixels);
}
