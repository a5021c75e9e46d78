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

/** log softmax in double precision. */
export function logSoftmax(logits: Float32Array): Float64Array {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > max) max = value;
  let total = 0;
  for (const value of logits) total += Math.exp(value - max);
  const shift = max + Math.log(total);
  return Float64Array.from(logits, (value) => value - shift);
}
