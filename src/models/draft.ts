/**
 * A draft of a line's text from the tower alone: a head that reads columns from left to right, trained by CTC. The decoder checks it
 * all in one run, where it would have written one token a run (as speculative decoding, arXiv 2211.17192): its text stays its own.
 */
import { InputError } from '../core/errors.js';
import { argmax } from '../core/logits.js';
import type { Tensor } from '../core/tensor.js';
import type { Scope, Value } from '../graph/builder.js';
import { multiplyDims } from '../graph/dims.js';
import { reshape } from '../graph/functions.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear } from '../nn/linear.js';
import type { OptConfig } from './opt.js';

export interface DraftConfig {
  /** Columns that each tower token stands for: narrow letters need more columns than the decoder needs tokens. */
  readonly columnsPerToken: number;
}

interface DraftSizes {
  readonly draft: DraftConfig;
  readonly decoder: { readonly vocabSize: number };
  readonly tower: { readonly epsilon: number };
}

/** The id that means nothing in a column. */
export function draftBlank({ decoder: { padId } }: { readonly decoder: Pick<OptConfig, 'padId'> }): number {
  if (padId !== null) return padId;
  throw new InputError('pad_token_id: drafts have it for nothing, expected an id, got null');
}

/** Where its tensors live. */
export const draftPath = 'ctc_head';

/** Logits per column from the tower's tokens [B, T, C]: [B, T · columnsPerToken, vocabulary]. */
export function draftLogits(
  root: Scope,
  tokens: Value,
  { draft: { columnsPerToken }, decoder: { vocabSize }, tower }: DraftSizes,
): Value {
  const head = root.at(draftPath);
  const logits = linear(head, layerNorm(head.at('norm'), tokens, tower), vocabSize * columnsPerToken);
  const [B, T] = tokens.shape;
  return reshape(root, logits, [B, multiplyDims(T, columnsPerToken), vocabSize]);
}

/** The likeliest id of each column: int64 [B, columns]. */
export const draftColumns = (root: Scope, tokens: Value, sizes: DraftSizes): Value =>
  root.op('ArgMax', [draftLogits(root, tokens, sizes)], { axis: 2, keepdims: 0 });

/** The ids of a row of columns, without repetitions and blanks. */
export function mergedIds(columns: Iterable<number | bigint>, blank: number): number[] {
  const ids: number[] = [];
  let before = blank;
  for (const column of columns) {
    const id = Number(column);
    if (id !== blank && id !== before) ids.push(id);
    before = id;
  }
  return ids;
}

/** What the likeliest ids of logits [B, T, V] say, row by row. */
export function greedyIds({ shape: [B, T, V], data }: Tensor<'float32'>, blank: number): number[][] {
  const best = (column: number) => argmax(data.subarray(column * V, (column + 1) * V));
  return Array.from({ length: B }, (_, b) =>
    mergedIds(
      Array.from({ length: T }, (_, t) => best(b * T + t)),
      blank,
    ),
  );
}
