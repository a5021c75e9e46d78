import type { Scope, Value } from '../graph/builder.js';
import { add, div, mul, reshape, scalar, scale, sub, transpose } from '../graph/functions.js';
import { crossEntropy } from './cross-entropy.js';

/**
 * CLIP's loss (arXiv 2103.00020): the mean of the cross-entropies of rows and of columns, a scalar. logits [B, B], targets
 * int64 [B] = 0 … B-1, weights float32 [B] = 1/B.
 */
export function symmetricCrossEntropy(s: Scope, logits: Value, targets: Value, weights: Value): Value {
  const rows = crossEntropy(s, logits, targets, weights);
  const columns = crossEntropy(s, transpose(s, logits, [1, 0]), targets, weights);
  return scale(s, add(s, rows, columns), 0.5);
}

/**
 * SigLIP's loss (arXiv 2303.15343): -Σ log sigmoid(sign · logits) / B, a scalar. logits and signs [B, B], signs 1 for pairs and
 * -1 for the others, count float32 [] = B.
 */
export function sigmoidLoss(s: Scope, logits: Value, signs: Value, count: Value): Value {
  const z = mul(s, logits, signs);
  // log sigmoid(z) = min(z, 0) - log(1 + e^-|z|), which does not overflow.
  const decay = s.op('Exp', [s.op('Neg', [s.op('Abs', [z], {})], {})], {});
  const logs = s.op('Log', [add(s, decay, scalar(s, 1))], {});
  const terms = sub(s, logs, s.op('Min', [z, scalar(s, 0)], {})); // -log sigmoid(z) [B, B]
  const total = s.op('ReduceSum', [terms], { axes: [0, 1], keepdims: 0 });
  return reshape(s, div(s, total, count), []);
}

/**
 * The mean of the cross-entropies of rows and of columns (of rows alone where there are no columns' shares), a scalar: −Σ share ·
 * log softmax. logits and shares [N, M]; the shares of all rows add up to 1, and those of all columns. With a share of 1/B for each
 * pair this is `symmetricCrossEntropy`.
 */
export function softCrossEntropy(
  s: Scope,
  logits: Value,
  { rows, columns }: { readonly rows: Value; readonly columns?: Value },
): Value {
  const along = (axis: number, shares: Value) => {
    const picked = mul(s, s.op('LogSoftmax', [logits], { axis }), shares);
    return s.op('Neg', [s.op('ReduceSum', [picked], { axes: [0, 1], keepdims: 0 })], {});
  };
  return columns ? scale(s, add(s, along(1, rows), along(0, columns)), 0.5) : along(1, rows);
}
