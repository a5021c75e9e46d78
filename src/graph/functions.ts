/** One function per op that is used by hand: `add(scope, a, b)` reads better than `scope.op('Add', [a, b], {})`. */
import type { DType } from '../core/dtype.js';
import { floats } from '../core/tensor.js';
import type { Scope, Value } from './builder.js';
import { dimAt, elementCount, type Shape } from './dims.js';

/** A float32 scalar. */
export const scalar = (s: Scope, value: number): Value => s.constant(floats([], [value]));

export const add = (s: Scope, a: Value, b: Value): Value => s.op('Add', [a, b], {});
export const sub = (s: Scope, a: Value, b: Value): Value => s.op('Sub', [a, b], {});
export const mul = (s: Scope, a: Value, b: Value): Value => s.op('Mul', [a, b], {});
export const div = (s: Scope, a: Value, b: Value): Value => s.op('Div', [a, b], {});
export const scale = (s: Scope, a: Value, factor: number): Value => mul(s, a, scalar(s, factor));
export const matMul = (s: Scope, a: Value, b: Value): Value => s.op('MatMul', [a, b], {});
/** a × bᵀ over the last two axes. */
export const matMulTransposed = (s: Scope, a: Value, b: Value, alpha = 1): Value =>
  s.op('FusedMatMul', [a, b], { transB: 1, alpha });
export const reshape = (s: Scope, x: Value, shape: Shape): Value => s.op('Reshape', [x], { shape });
export const transpose = (s: Scope, x: Value, perm: readonly number[]): Value => s.op('Transpose', [x], { perm });
export const concat = (s: Scope, values: readonly Value[], axis: number): Value =>
  values.length === 1 ? values[0] : s.op('Concat', values, { axis });
export const gather = (s: Scope, x: Value, indices: Value, axis = 0): Value => s.op('Gather', [x, indices], { axis });
export const softmax = (s: Scope, x: Value, axis = -1): Value => s.op('Softmax', [x], { axis });
export const expand = (s: Scope, x: Value, shape: Shape): Value => s.op('Expand', [x], { shape });
export const cast = (s: Scope, x: Value, to: DType): Value => (x.dtype === to ? x : s.op('Cast', [x], { to }));

/** x[..., start:end, ...] along one axis. */
export const slice = (s: Scope, x: Value, axis: number, start: number, end: number): Value =>
  s.op('Slice', [x], { starts: [start], ends: [end], axes: [axis] });

/** Zeros before and after along each axis given; the others stay. */
export function pad(s: Scope, x: Value, amounts: Readonly<Record<number, readonly [number, number]>>): Value {
  const before = x.shape.map((_, axis) => amounts[axis]?.[0] ?? 0);
  const after = x.shape.map((_, axis) => amounts[axis]?.[1] ?? 0);
  return [...before, ...after].every((amount) => amount === 0) ? x : s.op('Pad', [x], { pads: [...before, ...after] });
}

/** Parts of the given sizes along an axis. */
export function split(s: Scope, x: Value, sizes: readonly number[], axis: number): readonly Value[] {
  return s.ops('Split', [x], { split: sizes, axis });
}

/** The rows of x [B, T, C] at flat places int64 [R] in B·T: [R, C]. */
export function pickRows(s: Scope, x: Value, places: Value): Value {
  return gather(s, flattenRows(s, x), places);
}

/** [.., C] as [rows, C]. */
export function flattenRows(s: Scope, x: Value): Value {
  if (x.shape.length === 2) return x;
  return reshape(s, x, [elementCount(x.shape.slice(0, -1)), dimAt(x.shape, -1)]);
}

/**
 * x with as many leading rows as `like` has: [1, ...] to [B, ...]. Adding a zero of the batch's shape broadcasts, where Expand
 * would need the batch's size as a tensor.
 */
export function broadcastBatch(s: Scope, x: Value, like: Value): Value {
  if (like.shape[0] === x.shape[0]) return x;
  let corner = like;
  for (let axis = 1; axis < like.shape.length; axis++) corner = slice(s, corner, axis, 0, 1);
  const zero = reshape(s, scale(s, corner, 0), [like.shape[0], ...x.shape.slice(1).map(() => 1)]);
  return add(s, x, zero);
}
