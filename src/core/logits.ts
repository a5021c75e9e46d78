/** Index of the largest value, the first of equal ones. */
export function argmax(values: Float32Array): number {
  let best = 0;
  let largest = values[0];
  for (let i = 1; i < values.length; i++) {
    const value = values[i];
    if (value > largest) {
      best = i;
      largest = value;
    }
  }
  return best;
}

/** log Σ exp of logits, in double precision: what is taken from one of them to make it a log probability. */
export function logSumExp(logits: Float32Array): number {
  // Of every step and row: plain loops, since iterators make an object of each value.
  const count = logits.length;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < count; i++) max = logits[i] > max ? logits[i] : max;
  let total = 0;
  for (let i = 0; i < count; i++) total += Math.exp(logits[i] - max);
  return max + Math.log(total);
}
