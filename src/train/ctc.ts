/** Connectionist temporal classification (Graves et al., ICML 2006) on the host: ONNX has no operator for it. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';

export interface CtcLoss {
  /** Sum over rows of −log p(targets | logits), times each row's weight. */
  readonly loss: number;
  /** Its gradient by the logits, same shape. */
  readonly gradient: Tensor<'float32'>;
  /** Rows whose targets do not fit into their columns: they count nothing. */
  readonly impossible: readonly number[];
}

/** log(e^a + e^b + e^c) */
function logAdd(a: number, b: number, c: number): number {
  const most = Math.max(a, b, c);
  if (most === Number.NEGATIVE_INFINITY) return most;
  return most + Math.log(Math.exp(a - most) + Math.exp(b - most) + Math.exp(c - most));
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
    const into = gradient.subarray(b * T * V, (b + 1) * T * V);
    const rowLoss = rowGradient(rows, [T, V], labels, blank, weight, into);
    if (Number.isFinite(rowLoss)) loss += weight * rowLoss;
    else impossible.push(b);
  });
  return { loss, gradient: { dtype: 'float32', shape: [B, T, V], data: gradient }, impossible };
}

/** Softmax of each column, times `weight`, into `into` [T, V]; returns what to subtract from logits to get their logarithms: [T]. */
function softmaxColumns(logits: Float32Array, [T, V]: Extents, weight: number, into: Float32Array): Float64Array {
  const shifts = new Float64Array(T);
  const powers = new Float64Array(V);
  for (let t = 0; t < T; t++) {
    let most = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < V; v++) most = Math.max(most, logits[t * V + v]);
    let total = 0;
    for (let v = 0; v < V; v++) total += powers[v] = Math.exp(logits[t * V + v] - most);
    for (let v = 0; v < V; v++) into[t * V + v] = (weight * powers[v]) / total;
    shifts[t] = most + Math.log(total);
  }
  return shifts;
}

/** Columns and vocabulary. */
type Extents = readonly [T: number, V: number];

/** Forward–backward over one row; writes weight · (softmax − posterior) and returns −log p. */
function rowGradient(
  logits: Float32Array,
  [T, V]: Extents,
  labels: readonly number[],
  blank: number,
  weight: number,
  into: Float32Array,
): number {
  const states = Int32Array.from({ length: 2 * labels.length + 1 }, (_, s) => (s % 2 === 0 ? blank : labels[s >> 1]));
  const S = states.length;
  const shifts = softmaxColumns(logits, [T, V], weight, into);
  // Log probability of each state's symbol at each column: [T, S].
  const emissions = new Float64Array(T * S);
  for (let t = 0; t < T; t++) {
    for (let s = 0; s < S; s++) emissions[t * S + s] = logits[t * V + states[s]] - shifts[t];
  }
  const forward = walk(emissions, T, states, blank);
  // The same walk from the other end: columns and states reversed, then turned back.
  const backward = walk(emissions.toReversed(), T, states.toReversed(), blank).reverse();
  const total = logAdd(
    forward[T * S - 1],
    S > 1 ? forward[T * S - 2] : Number.NEGATIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  );
  if (!Number.isFinite(total)) {
    into.fill(0);
    return Number.POSITIVE_INFINITY;
  }
  for (let t = 0; t < T; t++) {
    for (let s = 0; s < S; s++) {
      // Both directions count the emission at t: once too often.
      const both = forward[t * S + s] + backward[t * S + s] - emissions[t * S + s] - total;
      into[t * V + states[s]] -= weight * Math.exp(both);
    }
  }
  return -total;
}

/** Log probabilities of all paths into each state at each column, its own emission included: [T, S]. */
function walk(emissions: Float64Array, T: number, states: Int32Array, blank: number): Float64Array {
  const S = states.length;
  const table = new Float64Array(T * S).fill(Number.NEGATIVE_INFINITY);
  const never = Number.NEGATIVE_INFINITY;
  // A symbol may follow the one before it without a blank between them, unless both are the same.
  const skips = Uint8Array.from(states, (id, s) => Number(s > 1 && id !== blank && id !== states[s - 2]));
  for (let s = 0; s < Math.min(2, S); s++) table[s] = emissions[s];
  for (let t = 1; t < T; t++) {
    const before = (t - 1) * S;
    for (let s = 0; s < S; s++) {
      const stay = table[before + s];
      const next = s > 0 ? table[before + s - 1] : never;
      const skip = skips[s] ? table[before + s - 2] : never;
      table[t * S + s] = logAdd(stay, next, skip) + emissions[t * S + s];
    }
  }
  return table;
}

/**
 * The loss of one path only, where it is known in which column each target stands: cross-entropy of every column, blanks between the
 * targets. Gives a tower its first idea of letters many times sooner than the sum over all paths. `places` are shares of the width,
 * ascending; targets that fall into one column move right to the next free one.
 */
export function alignedLoss(
  { shape: [B, T, V], data }: Tensor<'float32'>,
  targets: readonly (readonly number[])[],
  {
    places,
    blank,
    weight = 1,
  }: { readonly places: readonly (readonly number[])[]; readonly blank: number; readonly weight?: number },
): CtcLoss {
  const gradient = new Float32Array(B * T * V);
  const impossible: number[] = [];
  let loss = 0;
  targets.forEach((labels, b) => {
    const path = pathOf(labels, places[b], T, blank);
    if (!path) {
      impossible.push(b);
      return;
    }
    const at = b * T * V;
    const logits = data.subarray(at, at + T * V);
    const into = gradient.subarray(at, at + T * V);
    const shifts = softmaxColumns(logits, [T, V], weight, into);
    path.forEach((id, t) => {
      into[t * V + id] -= weight;
      loss += weight * (shifts[t] - logits[t * V + id]);
    });
  });
  return { loss, gradient: { dtype: 'float32', shape: [B, T, V], data: gradient }, impossible };
}

/** The symbol of each column; undefined where the targets do not fit. */
function pathOf(
  labels: readonly number[],
  places: readonly number[],
  T: number,
  blank: number,
): Int32Array | undefined {
  const path = new Int32Array(T).fill(blank);
  let last = -1;
  for (const [i, id] of labels.entries()) {
    // Equal neighbours need a blank between them.
    const first = i > 0 && labels[i - 1] === id ? last + 2 : last + 1;
    last = Math.max(first, Math.floor(places[i] * T));
    if (last >= T) return undefined;
    path[last] = id;
  }
  return path;
}
