/** What a whole model's graph takes: ids, masks and labels as tensors; for running it once, and for training. */
import { InputError } from '../core/errors.js';
import { ignoreIndex } from '../core/labels.js';
import { floats, intRows, ints, type Tensor } from '../core/tensor.js';
import type { Graph, NumberFormat } from '../graph/builder.js';
import { type DecoderFamily, wholeGraph } from './graphs.js';
import { positionRows } from './opt.js';
import { imageTokensAt, spliceSources } from './vary.js';

export interface ForwardInput {
  /** Rows of equal length. */
  readonly inputIds: readonly (readonly number[])[];
  /** 1 for tokens, 0 for padding; default: all tokens. */
  readonly attentionMask?: readonly (readonly number[])[];
  /** float32 [images, 3, H, W], in the order of the rows' <img>. W is the tower's, or less where it takes narrower pictures. */
  readonly pixelValues?: Tensor;
  /** As inputIds; -100 is ignored. */
  readonly labels?: readonly (readonly number[])[];
  /** Intermediates wanted, by name. */
  readonly taps?: readonly string[];
}

/** Position of padding keys: after every query. */
export const paddingIndex: number = 2 ** 31;

export interface PrepareOptions {
  /** Known extents, as gradients need them. */
  readonly fixed?: boolean;
  readonly numbers?: NumberFormat;
  readonly towerNumbers?: NumberFormat;
  /** What the loss is divided by; default: the labels counted here. */
  readonly total?: number;
  /** With the loss of guided attention, whose feeds the caller adds. */
  readonly guided?: boolean;
}

/** The graph and feeds of a forward pass; also what a training step starts from. */
export function prepareForward(
  family: DecoderFamily,
  { inputIds, attentionMask, pixelValues, labels, taps = [] }: ForwardInput,
  { fixed = false, numbers, towerNumbers, total, guided = false }: PrepareOptions = {},
): { readonly graph: () => Graph; readonly feeds: Record<string, Tensor> } {
  const mask = attentionMask ?? inputIds.map((row) => row.map(() => 1));
  const [B, T] = [inputIds.length, inputIds[0]?.length ?? 0];
  if (B === 0 || T === 0) throw new InputError('inputIds: expected at least one row with one token');
  checkRows('attentionMask', mask, inputIds);
  checkRange('inputIds', inputIds, family.decoder.vocabSize);
  const positions = mask.map(positionRows);
  const longest = Math.max(...mask.map((row) => row.filter(Boolean).length));
  if (longest > family.decoder.maxPositions) {
    throw new InputError(`a row has ${longest} tokens, the model has ${family.decoder.maxPositions} positions`);
  }
  const feeds: Record<string, Tensor> = {
    inputIds: intRows(inputIds, 'inputIds'),
    positions: intRows(positions, 'positions'),
    queryIndex: intRows(
      mask.map((row) => row.map((_, t) => t)),
      'queryIndex',
    ),
    keyIndex: intRows(
      mask.map((row) => row.map((real, t) => (real ? t : paddingIndex))),
      'keyIndex',
    ),
    outputRows: ints(
      [B * T],
      Array.from({ length: B * T }, (_, i) => i),
    ),
  };
  const images = pixelValues?.shape[0] ?? 0;
  if (pixelValues && family.kind !== 'vary') throw new InputError('pixelValues: this model takes no images');
  if (family.kind === 'vary') {
    const { vary } = family;
    const [, , , width = vary.tower.imageSize[1]] = pixelValues?.shape ?? [];
    const sources = spliceSources(inputIds, imageTokensAt(vary, width), images);
    if (pixelValues) Object.assign(feeds, { pixelValues, imageSource: intRows(sources, 'image source') });
  }
  if (labels) {
    checkRows('labels', labels, inputIds);
    const given = labels.map((row) => row.filter((label) => label !== ignoreIndex));
    checkRange('labels', given, family.decoder.vocabSize);
    Object.assign(feeds, lossFeeds(labels, total));
  }
  const extents = fixed ? ({ grid: [B, T], rows: B * T } as const) : undefined;
  const graph = () =>
    wholeGraph(family, {
      images,
      ...(pixelValues && { imageWidth: pixelValues.shape[3] }),
      loss: labels !== undefined,
      taps,
      ...(numbers && { numbers }),
      ...(towerNumbers && { towerNumbers }),
      guided,
      ...(extents && { extents }),
    });
  return { graph, feeds };
}

export function checkRows(
  name: string,
  rows: readonly (readonly number[])[],
  like: readonly (readonly number[])[],
): void {
  if (rows.length !== like.length || rows.some((row, i) => row.length !== like[i].length)) {
    throw new InputError(`${name}: expected ${like.length} rows of ${like[0].length}, as inputIds has`);
  }
}

export function checkRange(name: string, rows: readonly (readonly number[])[], vocabSize: number): void {
  for (const row of rows) {
    const wrong = row.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
    if (wrong !== undefined) throw new InputError(`${name}: expected ids from 0 to ${vocabSize - 1}, got ${wrong}`);
  }
}

/** Each position is scored by the label after it; the last has none. */
function lossFeeds(labels: readonly (readonly number[])[], total?: number): Record<string, Tensor> {
  const next = labels.flatMap((row) => [...row.slice(1), ignoreIndex]);
  const counted = next.filter((label) => label !== ignoreIndex).length;
  if (counted === 0 && total === undefined)
    throw new InputError('labels: all of them are masked, there is nothing to learn from');
  return {
    targets: ints(
      [next.length],
      next.map((label) => (label === ignoreIndex ? 0 : label)),
    ),
    targetWeights: floats(
      [next.length],
      next.map((label) => (label === ignoreIndex ? 0 : 1 / (total ?? counted))),
    ),
  };
}
