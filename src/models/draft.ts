/**
 * A draft of a line's text from the tower alone: a head that reads columns from left to right, trained by CTC. The decoder checks it
 * all in one run, where it would have written one token a run (as speculative decoding, arXiv 2211.17192): its text stays its own.
 */
import { argmax } from '../core/logits.js';
import type { Tensor } from '../core/tensor.js';
import type { Scope, Value } from '../graph/builder.js';
import { multiplyDims } from '../graph/dims.js';
import { reshape } from '../graph/functions.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear } from '../nn/linear.js';

export interface DraftConfig {
  /** Columns that each tower token stands for: narrow letters need more columns than the decoder needs tokens. */
  readonly columnsPerToken: number;
}

interface DraftSizes {
  readonly draft: DraftConfig;
  readonly decoder: { readonly vocabSize: number };
  readonly tower: { readonly epsilon: number };
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

/** The likeliest id of each column of logits [B, T, V], without repetitions and blanks. */
export function greedyIds({ shape: [B, T, V], data }: Tensor<'float32'>, blank: number): number[][] {
  return Array.from({ length: B }, (_, b) => {
    const ids: number[] = [];
    let before = blank;
    for (let t = 0; t < T; t++) {
      const at = (b * T + t) * V;
      const best = argmax(data.subarray(at, at + V));
      if (best !== blank && best !== before) ids.push(best);
      before = best;
    }
    return ids;
  });
}
