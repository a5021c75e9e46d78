/** Connectionist temporal classification (Graves et al., ICML 2006) on the host: ONNX has no operator for it. */
import { InputError } from '../core/errors.js';
import { argmax, logSoftmax } from '../core/logits.js';
import type { Tensor } from '../core/tensor.js';

export interface CtcLoss {
  /** Sum over rows of −log p(targets | logits), times each row's weight. */
  readonly loss: number;
  /** Its gradient by the logits, same shape. */
  readonly gradient: Tensor<'float32'>;
  /** Rows whose targets do not fit into their columns: they count nothing. */
  readonly impossible: readonly number[];
}

/** log(e^a + e^b) */
function logAdd(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY) return b;
  if (b === Number.NEGATIVE_INFINITY) return a;
  return a > b ? a + Math.log1p(Math.exp(b - a)) : b + Math.log1p(Math.exp(a - b));
}

/**
 * Loss and gradient for logits [B, T, V] and one row of target ids (without blanks) per batch row. `weight` multiplies every
 * row. As torch.nn.functional.ctc_loss(reduction='sum', zero_infinity=True) over log_softmax(logits).
 */
export function ctcLoss(
  { shape: [B, T, V], data }: Tensor<'float32'>,
  targets: readonly (readonly number[])[],
  { blank, weight = 1 }: { readonly blank: number; readonly weight?: number },
): CtcLoss {
  if (targets.length !== B) throw new InputError(`ctc: expected targets for ${B} rows, got ${targets.length}`);
  const gradient = new Float32Array(B * T * V);
  const impossible: number[] = [];
  let loss = 0;
  targets.forEach((labels, b) => {
    const rows = data.subarray(b * T * V, (b + 1) * T * V);
    const logs = columnLogs(rows, T, V);
    const into = gradient.subarray(b * T * V, (b + 1) * T * V);
    const rowLoss = rowGradient(logs, T, V, labels, blank, weight, into);
    if (Number.isFinite(rowLoss)) loss += weight * rowLoss;
    else impossible.push(b);
  });
  return { loss, gradient: { dtype: 'float32', shape: [B, T, V], data: gradient }, impossible };
}

/** Of each column: [T, V]. */
function columnLogs(logits: Float32Array, T: number, V: number): Float64Array {
  const logs = new Float64Array(T * V);
  for (let t = 0; t < T; t++) logs.set(logSoftmax(logits.subarray(t * V, (t + 1) * V)), t * V);
  return logs;
}

/** Forward–backward over one row; writes weight · (softmax − posterior) and returns −log p. */
function rowGradient(
  logs: Float64Array,
  T: number,
  V: number,
  labels: readonly number[],
  blank: number,
  weight: number,
  into: Float32Array,
): number {
  const states = Array.from({ length: 2 * labels.length + 1 }, (_, s) => (s % 2 === 0 ? blank : labels[s >> 1]));
  const forward = walk(logs, T, V, states, blank, false);
  const backward = walk(logs, T, V, states, blank, true);
  const S = states.length;
  const last = (T - 1) * S;
  const total = logAdd(forward[last + S - 1], S > 1 ? forward[last + S - 2] : Number.NEGATIVE_INFINITY);
  if (!Number.isFinite(total)) return Number.POSITIVE_INFINITY;
  for (let t = 0; t < T; t++) {
    for (let v = 0; v < V; v++) into[t * V + v] = weight * Math.exp(logs[t * V + v]);
    for (let s = 0; s < S; s++) {
      // Both directions count the emission at t: once too often.
      const both = forward[t * S + s] + backward[t * S + s] - logs[t * V + states[s]] - total;
      into[t * V + states[s]] -= weight * Math.exp(both);
    }
  }
  return -total;
}

/** Log probabilities of all paths into (or, reversed, out of) each state at each column, its own emission included: [T, S]. */
function walk(
  logs: Float64Array,
  T: number,
  V: number,
  states: readonly number[],
  blank: number,
  reversed: boolean,
): Float64Array {
  const S = states.length;
  const table = new Float64Array(T * S).fill(Number.NEGATIVE_INFINITY);
  const state = (s: number) => (reversed ? S - 1 - s : s);
  const column = (t: number) => (reversed ? T - 1 - t : t);
  for (let t = 0; t < T; t++) {
    for (let s = 0; s < S; s++) {
      const id = states[state(s)];
      let sum: number;
      if (t === 0) sum = s < 2 ? 0 : Number.NEGATIVE_INFINITY;
      else {
        const before = column(t - 1) * S;
        sum = table[before + state(s)];
        if (s > 0) sum = logAdd(sum, table[before + state(s - 1)]);
        if (s > 1 && id !== blank && id !== states[state(s - 2)]) sum = logAdd(sum, table[before + state(s - 2)]);
      }
      table[column(t) * S + state(s)] = sum + logs[column(t) * V + id];
    }
  }
  return table;
}

/** The best path's ids: repeats merged, blanks dropped. */
export function ctcGreedy({ shape: [B, T, V], data }: Tensor<'float32'>, blank: number): number[][] {
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
