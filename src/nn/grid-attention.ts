import type { Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { add, concat, reshape, split, transpose } from '../graph/functions.js';
import { type AttentionOptions, splitHeads } from './attention.js';

export interface GridAttentionOptions extends Omit<AttentionOptions, 'bias'> {
  /** Scores that are in memory at once, for each image. Default 2^23: 32 MB of them stay in a processor's cache for the most part. */
  readonly scoresTogether?: number;
}

/** Parts of `most`, the last of what is left. */
const partsOf = (total: number, most: number): number[] =>
  Array.from({ length: Math.ceil(total / most) }, (_, i) => Math.min(most, total - i * most));

/**
 * Attention on a grid of h × w places with what positions add to scores: `byRow` [N, h·w, heads, h] by the key's row and `byColumn`
 * [N, h·w, heads, w] by its column. q, k, v [N, h·w, C] to [N, h·w, C]. Queries go through it a few rows of the grid at a time: for all
 * together the sums would be heads·(h·w)² numbers.
 */
export function gridAttention(
  s: Scope,
  [q, k, v]: readonly Value[],
  [byRow, byColumn]: readonly Value[],
  { heads, scale, scoresTogether = 1 << 23 }: GridAttentionOptions,
): Value {
  const [N, places] = q.shape;
  const [h, w] = [fixedDimAt(byRow.shape, 3), fixedDimAt(byColumn.shape, 3)];
  const rows = Math.max(1, Math.floor(scoresTogether / (heads * w * h * w)));
  const counts = partsOf(h, rows).map((count) => count * w);
  const queries = split(s, q, counts, 1);
  const [keys, values] = [k, v].map((x) => splitHeads(s, x, heads)); // [N, heads, hw, D]
  const [fromRows, fromColumns] = [byRow, byColumn].map((x) => split(s, transpose(s, x, [0, 2, 1, 3]), counts, 2));
  const parts = queries.map((query, i) => {
    const row = reshape(s, fromRows[i], [N, heads, counts[i], h, 1]);
    const column = reshape(s, fromColumns[i], [N, heads, counts[i], 1, w]);
    const bias = reshape(s, add(s, row, column), [N, heads, counts[i], places]);
    return s.op('MultiHeadAttention', [query, keys, values, bias], { numHeads: heads, scale });
  });
  return parts.length === 1 ? parts[0] : concat(s, parts, 1);
}
