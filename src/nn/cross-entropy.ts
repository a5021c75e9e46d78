import type { Scope, Value } from '../graph/builder.js';
import { mul, reshape } from '../graph/functions.js';

/**
 * Σ weight · -log softmax(logits)[target], a scalar. logits [R, V], targets int64 [R], weights float32 [R]: 0 for ignored
 * rows, 1 / (number of counted rows) for the others gives the mean.
 */
export function crossEntropy(s: Scope, logits: Value, targets: Value, weights: Value): Value {
  const rows = targets.shape[0];
  const logProbabilities = s.op('LogSoftmax', [logits], { axis: -1 });
  const picked = s.op('GatherElements', [logProbabilities, reshape(s, targets, [rows, 1])], { axis: 1 }); // [R, 1]
  const weighted = mul(s, reshape(s, picked, [rows]), weights);
  return s.op('Neg', [s.op('ReduceSum', [weighted], { axes: [0], keepdims: 0 })], {});
}
