import type { Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { add, matMul, matMulTransposed, pad, reshape, slice, softmax, transpose } from '../graph/functions.js';

export interface AttentionOptions {
  readonly heads: number;
  /** What q·k is multiplied by. */
  readonly scale: number;
  /** Added to the scores before the softmax; broadcasts to [B, heads, Tq, Tk]. Needs the plain lowering. */
  readonly bias?: Value;
}

/** softmax(q·kᵀ·scale + bias)·v per head; the plain lowering taps the softmax as `weights` [B, heads, Tq, Tk]. q [B, Tq, H·D], k [B, Tk, H·D], v [B, Tk, H·Dv]: [B, Tq, H·Dv]. */
export function attention(s: Scope, q: Value, k: Value, v: Value, options: AttentionOptions): Value {
  const { heads, scale, bias } = options;
  if (s.lowering.attention === 'fused' && !bias) {
    return s.op('MultiHeadAttention', [q, k, v], { numHeads: heads, scale });
  }
  const [qh, kh, vh] = [q, k, v].map((x) => splitHeads(s, x, heads)); // [B, H, T, D]
  const scores = matMulTransposed(s, qh, kh, scale); // [B, H, Tq, Tk]
  const weights = s.tap('weights', softmax(s, bias ? add(s, scores, bias) : scores));
  return joinHeads(s, matMul(s, weights, vh));
}

/** [B, T, H·D] to [B, H, T, D]. */
export function splitHeads(s: Scope, x: Value, heads: number): Value {
  const [B, T] = x.shape;
  return transpose(s, reshape(s, x, [B, T, heads, fixedDimAt(x.shape, 2) / heads]), [0, 2, 1, 3]);
}

/** [B, H, T, D] to [B, T, H·D]. */
function joinHeads(s: Scope, x: Value): Value {
  const [B, H, T, D] = x.shape;
  return reshape(s, transpose(s, x, [0, 2, 1, 3]), [B, T, Number(H) * Number(D)]);
}

export interface KeyValueCache {
  /** [B, heads, cache, D8], D8 = `cacheHeadSize`. */
  readonly key: Value;
  readonly value: Value;
  /** Real tokens of each row after this call, minus one: int32 [B]. */
  readonly lastIndex: Value;
  /** The longest row after this call: int32 [1]. */
  readonly totalLength: Value;
}

/** The kernel takes head sizes that are multiples of 8; others are padded with zeros, which changes no score. */
export const cacheHeadSize = (headSize: number): number => Math.ceil(headSize / 8) * 8;

/**
 * Causal attention over a cache that grows by this call's keys and values: rows are right-padded, a row's real length is
 * `lastIndex` + 1. q, k, v [B, T, H·D]: the result [B, T, H·D] and the caches to carry on.
 */
export function cachedAttention(
  s: Scope,
  [q, k, v]: readonly Value[],
  cache: KeyValueCache,
  { heads, scale }: Omit<AttentionOptions, 'bias'>,
): { readonly output: Value; readonly key: Value; readonly value: Value } {
  const headSize = fixedDimAt(q.shape, 2) / heads;
  const [output, key, value] = s.ops(
    'GroupQueryAttention',
    [...[q, k, v].map((x) => padHeads(s, x, heads)), cache.key, cache.value, cache.lastIndex, cache.totalLength],
    { numHeads: heads, kvNumHeads: heads, scale },
  );
  return { output: cutHeads(s, output, heads, headSize), key, value };
}

/** [B, T, H·D] to [B, T, H·D8]. */
function padHeads(s: Scope, x: Value, heads: number): Value {
  const [B, T] = x.shape;
  const size = fixedDimAt(x.shape, 2) / heads;
  const padded = cacheHeadSize(size);
  if (padded === size) return x;
  const wide = pad(s, reshape(s, x, [B, T, heads, size]), { 3: [0, padded - size] });
  return reshape(s, wide, [B, T, heads * padded]);
}

/** [B, T, H·D8] to [B, T, H·D]. */
function cutHeads(s: Scope, x: Value, heads: number, size: number): Value {
  const [B, T] = x.shape;
  const padded = fixedDimAt(x.shape, 2) / heads;
  if (padded === size) return x;
  const cut = slice(s, reshape(s, x, [B, T, heads, padded]), 3, 0, size);
  return reshape(s, cut, [B, T, heads * size]);
}
