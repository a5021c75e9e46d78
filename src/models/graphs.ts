import { ShapeError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import {
  createGraphBuilder,
  float32Numbers,
  fusedLowering,
  type Graph,
  type GraphBuilder,
  type NumberFormat,
  plainLowering,
  type Value,
} from '../graph/builder.js';
import { type Dim, multiplyDims } from '../graph/dims.js';
import { add, mul, pickRows, reshape, scalar, scale, split } from '../graph/functions.js';
import { crossEntropy } from '../nn/cross-entropy.js';
import { draftColumns } from './draft.js';
import { causalBias, embedTokens, type OptConfig, optDecoder, optHead, unlearnedPadding } from './opt.js';
import { columnNumbers, columnsPerToken, expectCanvas, samStages, samTower } from './sam.js';
import { projectImages, spliceImages, towerPath, type VaryConfig } from './vary.js';

/** A decoder alone, or one that takes image features. */
export type DecoderFamily =
  | { readonly kind: 'opt'; readonly decoder: OptConfig }
  | { readonly kind: 'vary'; readonly decoder: OptConfig; readonly vary: VaryConfig };

export const optFamily = (decoder: OptConfig): DecoderFamily => ({ kind: 'opt', decoder });
export const varyFamily = (vary: VaryConfig): DecoderFamily => ({ kind: 'vary', decoder: vary.decoder, vary });

/**
 * The decoder with its cache, for prompts and single tokens alike. Inputs: inputIds, positions [batch, sequence]; lastIndex
 * [batch], totalLength [1]; outputRows [rows]; for vary also features [features, C] and imageSource [batch, sequence].
 * Output: logits [rows, vocabulary].
 */
export function cachedDecoderGraph(family: DecoderFamily, numbers: NumberFormat = float32Numbers): Graph {
  const builder = createGraphBuilder('decoder', { ...fusedLowering, ...numbers });
  const { root, input } = builder;
  const grid = ['batch', 'sequence'];
  const ids = input('inputIds', 'int64', grid);
  const positions = input('positions', 'int64', grid);
  const lastIndex = input('lastIndex', 'int32', ['batch']);
  const totalLength = input('totalLength', 'int32', [1]);
  const rows = input('outputRows', 'int64', ['rows']);
  let embeds = embedTokens(root, ids, family.decoder);
  if (family.kind === 'vary') {
    const features = input('features', 'float32', ['features', family.decoder.width]);
    embeds = spliceImages(root, embeds, features, input('imageSource', 'int64', grid));
  }
  const context = { kind: 'cached', builder, lastIndex, totalLength } as const;
  const hidden = optDecoder(root, embeds, positions, family.decoder, context, rows);
  builder.output('logits', optHead(root, hidden, family.decoder));
  return builder.finish();
}

export interface TowerGraphsOptions {
  /** Into how many graphs it is cut; default 1. */
  readonly segments?: number;
  readonly numbers?: NumberFormat;
}

/**
 * The tower and projector, in graphs each from `x` to `x`: pixels [images, 3, H, W] to [images, T, C]. Where the tower takes narrower
 * pictures W is that of its columns, and `columns` int64 [columns] is an input too: see `towerFeeds`. The last also has ids
 * `draft` int64 [images, columns of the draft] where the tower drafts: see `mergedIds`.
 */
export function towerGraphs(
  config: VaryConfig,
  { segments = 1, numbers = float32Numbers }: TowerGraphsOptions = {},
): readonly Graph[] {
  const { tower, draft } = config;
  const total = samStages(tower).length;
  const count = Math.min(segments, total);
  const cuts = Array.from({ length: count + 1 }, (_, i) => Math.round((i * total) / count));
  const { imageSize, patchSize } = tower;
  const isFixed = tower.widthStep === 0;
  const h = imageSize[0] / patchSize[0];
  const w: Dim = isFixed ? imageSize[1] / patchSize[1] : multiplyDims('tokens', columnsPerToken(tower));
  return cuts.slice(1).map((end, i) => {
    const builder = createGraphBuilder(`tower.${i}`, { ...fusedLowering, ...numbers });
    const shape = i === 0 ? ['images', 3, imageSize[0], multiplyDims(w, patchSize[1])] : ['images', h, w, tower.width];
    const scope = builder.root.at(towerPath);
    let x = builder.input('x', 'float32', shape);
    // Stages of their own for each graph: a value belongs to one graph.
    const stages = samStages(tower, isFixed ? undefined : builder.input('columns', 'int64', [w]));
    for (const stage of stages.slice(cuts[i], end)) x = stage(scope, x);
    const isLast = end === total;
    builder.output('x.out', isLast ? projectImages(builder.root, x, config) : x);
    if (isLast && draft) builder.output('draft', draftColumns(builder.root, x, { ...config, draft }));
    return builder.finish();
  });
}

/** The feeds of graph `part` of `towerGraphs` for its `x`: of the first pixels, of the others a map [images, h, w, C]. */
export function towerFeeds({ tower }: VaryConfig, part: number, x: Tensor): Record<string, Tensor> {
  if (tower.widthStep === 0) return { x };
  const [, , rows, across] = x.shape;
  if (part > 0) return { x, columns: columnNumbers(tower, rows * tower.patchSize[1]) };
  expectCanvas(tower, [rows, across]);
  return { x, columns: columnNumbers(tower, across) };
}

export interface WholeGraphOptions {
  /** How many images come as pixelValues; 0 for none. */
  readonly images: number;
  /** Of the images, where the tower takes narrower ones than its own input; in pixels. */
  readonly imageWidth?: number;
  readonly loss: boolean;
  readonly taps: readonly string[];
  /** [rows, tokens] and scored positions as numbers: gradients need known extents. Default: symbolic. */
  readonly extents?: { readonly grid: readonly [number, number]; readonly rows: number };
  /** Adds `guidance` of one attention head to the loss. */
  readonly guided?: boolean;
  /** Of the decoder's matrices; gradients need float32, the default. */
  readonly numbers?: NumberFormat;
  /** Of the tower's and the projector's. */
  readonly towerNumbers?: NumberFormat;
}

/**
 * Everything in one graph without a cache: what training differentiates, and what taps are asked of. Inputs: inputIds,
 * positions, queryIndex, keyIndex [batch, sequence]; outputRows [rows]; with images pixelValues and imageSource; with the loss
 * targets and targetWeights [rows]; guided, `guide` [batch, sequence, sequence] and `guideWeights` [batch, sequence]. Outputs: logits [rows, vocabulary], loss, taps.
 */
export function wholeGraph(family: DecoderFamily, options: WholeGraphOptions): Graph {
  const { images, imageWidth, loss, taps, extents, guided = false, numbers, towerNumbers } = options;
  const builder = createGraphBuilder('whole', { ...plainLowering, ...numbers });
  const { root, input } = builder;
  const grid = extents?.grid ?? ['batch', 'sequence'];
  const scored = extents?.rows ?? 'rows';
  const ids = input('inputIds', 'int64', grid);
  const positions = input('positions', 'int64', grid);
  const bias = causalBias(root, input('queryIndex', 'int64', grid), input('keyIndex', 'int64', grid));
  const rows = input('outputRows', 'int64', [scored]);
  let embeds = embedTokens(root, ids, family.decoder);
  if (loss) embeds = unlearnedPadding(root, embeds, ids, family.decoder);
  if (family.kind === 'vary' && images > 0) {
    const { vary } = family;
    const [height, whole] = vary.tower.imageSize;
    const width = vary.tower.widthStep > 0 && imageWidth !== undefined ? imageWidth : whole;
    const pixels = input('pixelValues', 'float32', [images, 3, height, width]);
    const seeing = root.lowered(towerNumbers ?? float32Numbers);
    const tokens = samTower(seeing.at(towerPath), pixels, vary.tower);
    const features = projectImages(seeing, tokens, vary);
    const [B, T, C] = features.shape;
    const flat = root.op('Reshape', [features], { shape: [Number(B) * Number(T), C] });
    embeds = spliceImages(root, embeds, flat, input('imageSource', 'int64', grid));
  }
  const hidden = optDecoder(root, embeds, positions, family.decoder, { kind: 'whole', bias });
  const logits = optHead(root, pickRows(root, hidden, rows), family.decoder);
  builder.output('logits', logits);
  if (loss) {
    const targets = input('targets', 'int64', [scored]);
    const own = crossEntropy(root, logits, targets, input('targetWeights', 'float32', [scored]));
    builder.output('loss', guided ? add(root, own, guidance(builder, family.decoder, grid)) : own);
  }
  return builder.finish(taps);
}

/** Kept from log(0). */
const leastAttention = 1e-6;

/**
 * Guided attention (as in arXiv 1710.08969, for a known alignment): −log of what the first head of the second layer gives to the
 * keys that `guide` marks with 1, summed over queries times their weight. A scalar.
 */
function guidance(builder: GraphBuilder, { layers, heads }: OptConfig, [B, T]: readonly Dim[]): Value {
  const { root, input } = builder;
  const weights = builder.taps.get(`model.decoder.layers.${Math.min(1, layers - 1)}.self_attn.weights`);
  if (!weights) throw new ShapeError('guided attention needs the plain lowering of attention');
  const [head] = split(root, weights, [1, ...(heads > 1 ? [heads - 1] : [])], 1); // [B, 1, T, T]
  const marked = mul(root, reshape(root, head, [B, T, T]), input('guide', 'float32', [B, T, T]));
  const given = root.op('ReduceSum', [marked], { axes: [2], keepdims: 0 }); // [B, T]
  const logs = root.op('Log', [add(root, given, scalar(root, leastAttention))], {});
  const weighed = mul(root, logs, input('guideWeights', 'float32', [B, T]));
  return scale(root, root.op('ReduceSum', [weighed], { axes: [0, 1], keepdims: 0 }), -1);
}
