/**
 * THE op table: what each op takes and what comes out. Names, attributes and meanings are ONNX's (opset 21) and, where `domain`
 * says so, ONNX Runtime's com.microsoft; so export is one generic walk over this table.
 */
import type { DType } from '../core/dtype.js';
import {
  addDims,
  broadcastShapes,
  type Dim,
  dimAt,
  divideDims,
  elementCount,
  fixedDimAt,
  floorDivideDims,
  multiplyDims,
  type Shape,
  sameShape,
} from './dims.js';

export const opset = 21;

export interface ValueType {
  readonly dtype: DType;
  readonly shape: Shape;
}

type None = Readonly<Record<never, never>>;
type Ints = readonly number[];

/** Attributes per op. Those an op lists as `tensorAttributes` become int64 inputs after its values when emitted. */
export interface OpAttributes {
  Abs: None;
  Add: None;
  ArgMax: { readonly axis: number; readonly keepdims: 0 | 1 };
  Cast: { readonly to: DType };
  Concat: { readonly axis: number };
  Conv: { readonly kernelShape: Ints; readonly strides: Ints; readonly pads: Ints };
  ConvTranspose: {
    readonly kernelShape: Ints;
    readonly strides: Ints;
    readonly pads: Ints;
    readonly outputPadding: Ints;
  };
  Div: None;
  Equal: None;
  Erf: None;
  Exp: None;
  Expand: { readonly shape: Shape };
  FusedMatMul: { readonly transA?: 0 | 1; readonly transB?: 0 | 1; readonly alpha?: number };
  Gather: { readonly axis: number };
  GatherElements: { readonly axis: number };
  Gelu: { readonly approximate?: 'none' | 'tanh' };
  Gemm: { readonly transA?: 0 | 1; readonly transB?: 0 | 1; readonly alpha?: number; readonly beta?: number };
  GroupQueryAttention: { readonly numHeads: number; readonly kvNumHeads: number; readonly scale: number };
  /** The same value; ours stops the gradient. */
  Identity: None;
  LayerNormalization: { readonly axis: number; readonly epsilon: number };
  LessOrEqual: None;
  Log: None;
  LogSoftmax: { readonly axis: number };
  MatMul: None;
  MatMulNBits: {
    readonly K: number;
    readonly N: number;
    readonly bits: 4 | 8;
    readonly blockSize: number;
    readonly accuracyLevel: number;
  };
  MatMulIntegerToFloat: None;
  Max: None;
  Min: None;
  Mul: None;
  MultiHeadAttention: { readonly numHeads: number; readonly scale: number };
  Neg: None;
  Pad: { readonly pads: Ints };
  QuantizeLinear: None;
  ReduceMax: { readonly axes: Ints; readonly keepdims: 0 | 1 };
  ReduceMean: { readonly axes: Ints; readonly keepdims: 0 | 1 };
  ReduceSum: { readonly axes: Ints; readonly keepdims: 0 | 1 };
  Relu: None;
  Reshape: { readonly shape: Shape };
  ScatterND: { readonly reduction?: 'none' | 'add' };
  Sigmoid: None;
  Slice: { readonly starts: Ints; readonly ends: Ints; readonly axes: Ints; readonly steps?: Ints };
  Softmax: { readonly axis: number };
  Split: { readonly split: Ints; readonly axis: number };
  Sqrt: None;
  Sub: None;
  Tanh: None;
  Transpose: { readonly perm: Ints };
  Where: None;
}

export type OpName = keyof OpAttributes;

export interface OpSpec<K extends OpName> {
  readonly domain?: 'com.microsoft';
  /** Fewest and most inputs. */
  readonly arity: readonly [number, number];
  /** Where ONNX has each input, if some that are not given stand between. */
  readonly places?: readonly number[];
  /** Attributes that ONNX takes as int64 input tensors, in the order of those inputs. */
  readonly tensorAttributes?: readonly (keyof OpAttributes[K] & string)[];
  /** Result types; throws a RangeError saying what was expected and what came. */
  infer(inputs: readonly ValueType[], attributes: OpAttributes[K]): readonly ValueType[];
}

/** Past any extent: "to the end" in a Slice. */
export const sliceEnd: number = 2 ** 31 - 1;

const fail = (expected: string, got: string): never => {
  throw new RangeError(`expected ${expected}, got ${got}`);
};
const text = (...shapes: readonly Shape[]) => shapes.map((shape) => `[${shape.join(', ')}]`).join(' and ');
const positive = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

function sameDType(inputs: readonly ValueType[]): DType {
  const [first, ...rest] = inputs;
  const other = rest.find((input) => input.dtype !== first.dtype);
  if (other) fail(`one dtype for all inputs`, `${first.dtype} and ${other.dtype}`);
  return first.dtype;
}

function broadcastAll(inputs: readonly ValueType[]): Shape {
  return inputs
    .map((input) => input.shape)
    .reduce((a, b) => broadcastShapes(a, b) ?? fail('shapes that broadcast', text(a, b)));
}

type Elementwise = Pick<OpSpec<'Add'>, 'arity' | 'infer'>;
const unary: Elementwise = { arity: [1, 1], infer: ([x]) => [x] };
const binary: Elementwise = {
  arity: [2, 2],
  infer: (inputs) => [{ dtype: sameDType(inputs), shape: broadcastAll(inputs) }],
};
const comparison: Elementwise = {
  arity: [2, 2],
  infer: (inputs) => {
    sameDType(inputs);
    return [{ dtype: 'bool', shape: broadcastAll(inputs) }];
  },
};

function withAxis(shape: Shape, axis: number): Shape {
  dimAt(shape, axis);
  return shape;
}

function matMulShape(a: Shape, b: Shape, transA: boolean, transB: boolean): Shape {
  if (a.length < 2 || b.length < 2) fail('matrices', text(a, b));
  const [m, ka] = transA ? [dimAt(a, -1), dimAt(a, -2)] : [dimAt(a, -2), dimAt(a, -1)];
  const [kb, n] = transB ? [dimAt(b, -1), dimAt(b, -2)] : [dimAt(b, -2), dimAt(b, -1)];
  const written = `${text(a)}${transA ? 'ᵀ' : ''} × ${text(b)}${transB ? 'ᵀ' : ''}`;
  if (ka !== kb) fail('equal inner extents', written);
  const batch = broadcastShapes(a.slice(0, -2), b.slice(0, -2)) ?? fail('batch extents that broadcast', written);
  return [...batch, m, n];
}

const reduce = {
  arity: [1, 1],
  tensorAttributes: ['axes'],
  infer: (
    [x]: readonly ValueType[],
    { axes, keepdims }: { readonly axes: Ints; readonly keepdims: 0 | 1 },
  ): readonly ValueType[] => {
    const gone = new Set(axes.map((axis) => positive(axis, x.shape.length)));
    for (const axis of gone) dimAt(x.shape, axis);
    const shape = x.shape.flatMap((extent, i): Dim[] => (gone.has(i) ? (keepdims ? [1] : []) : [extent]));
    return [{ dtype: x.dtype, shape }];
  },
} as const;

/**
 * ONNX's form of a Reshape or Expand target: 0 copies the input's extent at that place, -1 is worked out from the others.
 * Throws a RangeError where more than one symbolic extent is left over.
 */
export function reshapeTarget(from: Shape, to: Shape): number[] {
  const unknown = to.filter((extent) => typeof extent === 'string').length;
  const target = to.map((extent, i) => {
    if (typeof extent === 'number') return extent;
    return unknown > 1 && extent === from[i] ? 0 : -1;
  });
  if (target.filter((extent) => extent === -1).length > 1) {
    fail(`at most one symbolic extent that is not ${text(from)}'s at the same place`, text(to));
  }
  return target;
}

function inferSlice(
  [x]: readonly ValueType[],
  { starts, ends, axes, steps }: OpAttributes['Slice'],
): readonly ValueType[] {
  const shape = [...x.shape];
  axes.forEach((axis, i) => {
    const at = positive(axis, shape.length);
    const extent = dimAt(shape, at);
    const place = (index: number): Dim =>
      index === sliceEnd
        ? extent
        : index < 0
          ? addDims(extent, index)
          : typeof extent === 'number'
            ? Math.min(index, extent)
            : index;
    const size = addDims(place(ends[i]), multiplyDims(-1, place(starts[i])));
    if (typeof size === 'number' && size < 0) fail('start <= end', `${starts[i]}..${ends[i]} of ${extent}`);
    const step = steps?.[i] ?? 1;
    if (step !== 1 && typeof size !== 'number') fail('a known extent for steps', String(size));
    shape[at] = step === 1 ? size : Math.ceil(Number(size) / step);
  });
  return [{ dtype: x.dtype, shape }];
}

function inferConv(inputs: readonly ValueType[], { kernelShape, strides, pads }: OpAttributes['Conv']): ValueType[] {
  const [x, w] = inputs;
  if (x.shape.length !== 4 || w.shape.length !== 4) fail('x [B, C, H, W] and w [M, C, h, w]', text(x.shape, w.shape));
  if (x.shape[1] !== w.shape[1]) fail(`${w.shape[1]} input channels`, text(x.shape));
  if (w.shape[2] !== kernelShape[0] || w.shape[3] !== kernelShape[1]) fail(`kernel [${kernelShape}]`, text(w.shape));
  const out = [0, 1].map((i) => {
    const padded = addDims(dimAt(x.shape, 2 + i), pads[i] + pads[2 + i]);
    if (typeof padded === 'number' && padded < kernelShape[i]) {
      fail(`at least ${kernelShape[i]} padded pixels`, String(padded));
    }
    const steps = floorDivideDims(addDims(padded, -kernelShape[i]), strides[i]);
    return addDims(steps ?? fail(`an extent in whole steps of ${strides[i]}`, String(padded)), 1);
  });
  return [{ dtype: sameDType(inputs), shape: [x.shape[0], w.shape[0], ...out] }];
}

function inferConvTranspose(inputs: readonly ValueType[], attributes: OpAttributes['ConvTranspose']): ValueType[] {
  const [x, w] = inputs;
  const { kernelShape, strides, pads, outputPadding } = attributes;
  if (x.shape.length !== 4 || w.shape.length !== 4) fail('x [B, C, H, W] and w [C, M, h, w]', text(x.shape, w.shape));
  if (x.shape[1] !== w.shape[0]) fail(`${w.shape[0]} input channels`, text(x.shape));
  const out = [0, 1].map(
    (i) => (fixedDimAt(x.shape, 2 + i) - 1) * strides[i] - pads[i] - pads[2 + i] + kernelShape[i] + outputPadding[i],
  );
  return [{ dtype: sameDType(inputs), shape: [x.shape[0], w.shape[1], ...out] }];
}

function inferGroupQueryAttention(
  inputs: readonly ValueType[],
  { numHeads, kvNumHeads }: OpAttributes['GroupQueryAttention'],
): ValueType[] {
  const [q, k, v, pastKey, pastValue, seqLens, total] = inputs;
  if (q.shape.length !== 3) fail('query [batch, sequence, heads × head dim]', text(q.shape));
  const headDim = divideDims(dimAt(q.shape, 2), numHeads) ?? fail(`a width divisible by ${numHeads}`, text(q.shape));
  if (typeof headDim !== 'number' || headDim % 8 !== 0) fail('a head size divisible by 8', String(headDim));
  const kvShape = [q.shape[0], q.shape[1], multiplyDims(kvNumHeads, headDim)];
  if (!sameShape(k.shape, kvShape) || !sameShape(v.shape, kvShape)) fail(text(kvShape), text(k.shape, v.shape));
  const cache = [q.shape[0], kvNumHeads, dimAt(pastKey.shape, 2), headDim];
  if (!sameShape(pastKey.shape, cache) || !sameShape(pastValue.shape, cache)) {
    fail(`cache ${text(cache)}`, text(pastKey.shape, pastValue.shape));
  }
  if (seqLens.dtype !== 'int32' || total.dtype !== 'int32') fail('int32 lengths', `${seqLens.dtype}, ${total.dtype}`);
  return [q, pastKey, pastValue];
}

/** Keys and values [B, T, width], or [B, heads, T, D]; what is added to scores is [B, heads, Tq, Tk]. */
function inferMultiHeadAttention(
  inputs: readonly ValueType[],
  { numHeads }: OpAttributes['MultiHeadAttention'],
): ValueType[] {
  const [q, k, v, bias] = inputs;
  if (k.shape.length !== v.shape.length) fail('keys and values of one rank', text(k.shape, v.shape));
  const [keys, values] = [k, v].map(({ shape }) => (shape.length === 4 ? flatHeads(shape, numHeads) : shape));
  if (!sameShape(q.shape, [...keys.slice(0, 1), q.shape[1], ...keys.slice(2)])) {
    fail('query and key of equal batch and width', text(q.shape, k.shape));
  }
  if (values[1] !== keys[1]) fail('as many values as keys', text(k.shape, v.shape));
  for (const shape of [q.shape, values]) {
    if (divideDims(dimAt(shape, 2), numHeads) === undefined) fail(`a width divisible by ${numHeads}`, text(shape));
  }
  const scores = [q.shape[0], numHeads, q.shape[1], keys[1]];
  if (bias && !sameShape(bias.shape, scores)) fail(`a bias ${text(scores)}`, text(bias.shape));
  return [{ dtype: sameDType(inputs), shape: [q.shape[0], q.shape[1], dimAt(values, 2)] }];
}

/** [B, heads, T, D] as [B, T, heads·D]. */
function flatHeads(shape: Shape, heads: number): Shape {
  if (shape[1] !== heads) fail(`${heads} heads`, text(shape));
  return [shape[0], shape[2], multiplyDims(dimAt(shape, 3), heads)];
}

/** uint8 rows, int8 matrix, the rows' step, the matrix's step per column, the rows' zero point. */
function inferMatMulIntegerToFloat([a, b, aScale, bScale, aZero]: readonly ValueType[]): ValueType[] {
  if (a.dtype !== 'uint8' || b.dtype !== 'int8') fail('uint8 rows and an int8 matrix', `${a.dtype}, ${b.dtype}`);
  const shape = matMulShape(a.shape, b.shape, false, false);
  const columns = [fixedDimAt(shape, -1)];
  if (aScale.shape.length !== 0 || aZero.shape.length !== 0) fail('scalars', text(aScale.shape, aZero.shape));
  if (aZero.dtype !== a.dtype) fail(`a zero point of ${a.dtype}`, aZero.dtype);
  if (!sameShape(bScale.shape, columns)) fail(text(columns), text(bScale.shape));
  return [{ dtype: sameDType([aScale, bScale]), shape }];
}

export const ops: { readonly [K in OpName]: OpSpec<K> } = {
  Abs: unary,
  Add: binary,
  ArgMax: {
    arity: [1, 1],
    infer: ([x], { axis, keepdims }) => [{ ...reduce.infer([x], { axes: [axis], keepdims })[0], dtype: 'int64' }],
  },
  Cast: { arity: [1, 1], infer: ([x], { to }) => [{ dtype: to, shape: x.shape }] },
  Concat: {
    arity: [1, 4096],
    infer: (inputs, { axis }) => {
      const rank = inputs[0].shape.length;
      const at = positive(axis, rank);
      const without = (shape: Shape) => shape.filter((_, i) => i !== at);
      for (const { shape } of inputs) {
        if (shape.length !== rank || !sameShape(without(shape), without(inputs[0].shape))) {
          fail(`inputs equal but for axis ${at}`, text(inputs[0].shape, shape));
        }
      }
      const joined = inputs.map((input) => dimAt(input.shape, at)).reduce(addDims);
      return [{ dtype: sameDType(inputs), shape: inputs[0].shape.map((extent, i) => (i === at ? joined : extent)) }];
    },
  },
  Conv: { arity: [2, 3], infer: inferConv },
  ConvTranspose: { arity: [2, 3], infer: inferConvTranspose },
  Div: binary,
  Equal: comparison,
  Erf: unary,
  Exp: unary,
  Expand: {
    arity: [1, 1],
    tensorAttributes: ['shape'],
    infer: ([x], { shape }) => [
      {
        dtype: x.dtype,
        shape: broadcastShapes(x.shape, shape) ?? fail(`a shape that ${text(x.shape)} broadcasts to`, text(shape)),
      },
    ],
  },
  FusedMatMul: {
    domain: 'com.microsoft',
    arity: [2, 2],
    infer: (inputs, { transA, transB }) => [
      { dtype: sameDType(inputs), shape: matMulShape(inputs[0].shape, inputs[1].shape, !!transA, !!transB) },
    ],
  },
  Gather: {
    arity: [2, 2],
    infer: ([x, indices], { axis }) => {
      const at = positive(axis, x.shape.length);
      dimAt(x.shape, at);
      if (indices.dtype !== 'int64' && indices.dtype !== 'int32') fail('integer indices', indices.dtype);
      return [{ dtype: x.dtype, shape: [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)] }];
    },
  },
  GatherElements: {
    arity: [2, 2],
    infer: ([x, indices], { axis }) => {
      dimAt(x.shape, axis);
      if (indices.dtype !== 'int64') fail('int64 indices', indices.dtype);
      if (indices.shape.length !== x.shape.length) fail(`indices of rank ${x.shape.length}`, text(indices.shape));
      return [{ dtype: x.dtype, shape: indices.shape }];
    },
  },
  Gelu: unary,
  Gemm: {
    arity: [2, 3],
    infer: (inputs, { transA, transB }) => {
      const [a, b, c] = inputs;
      if (a.shape.length !== 2 || b.shape.length !== 2) fail('two matrices', text(a.shape, b.shape));
      const shape = matMulShape(a.shape, b.shape, !!transA, !!transB);
      const added = c && broadcastShapes(c.shape, shape);
      if (c && !(added && sameShape(added, shape))) fail(`a bias that broadcasts to ${text(shape)}`, text(c.shape));
      return [{ dtype: sameDType(inputs), shape }];
    },
  },
  GroupQueryAttention: { domain: 'com.microsoft', arity: [7, 7], infer: inferGroupQueryAttention },
  Identity: unary,
  LayerNormalization: {
    arity: [2, 3],
    infer: (inputs, { axis }) => {
      const [x, ...affine] = inputs;
      const normalised = x.shape.slice(positive(axis, x.shape.length));
      for (const { shape } of affine) if (!sameShape(shape, normalised)) fail(text(normalised), text(shape));
      const outer = x.shape.map((extent, i) => (i < positive(axis, x.shape.length) ? extent : 1));
      const statistics: ValueType = { dtype: 'float32', shape: outer };
      return [{ dtype: sameDType(inputs), shape: x.shape }, statistics, statistics];
    },
  },
  LessOrEqual: comparison,
  Log: unary,
  LogSoftmax: { arity: [1, 1], infer: ([x], { axis }) => [{ dtype: x.dtype, shape: withAxis(x.shape, axis) }] },
  MatMul: {
    arity: [2, 2],
    infer: (inputs) => [
      { dtype: sameDType(inputs), shape: matMulShape(inputs[0].shape, inputs[1].shape, false, false) },
    ],
  },
  MatMulIntegerToFloat: { domain: 'com.microsoft', arity: [5, 5], infer: inferMatMulIntegerToFloat },
  MatMulNBits: {
    domain: 'com.microsoft',
    arity: [3, 3],
    infer: ([x, packed, scales], { K, N, bits, blockSize }) => {
      if (dimAt(x.shape, -1) !== K) fail(`rows of ${K}`, text(x.shape));
      const blocks = Math.ceil(K / blockSize);
      const expected = [N, blocks, (blockSize * bits) / 8];
      if (packed.dtype !== 'uint8' || !sameShape(packed.shape, expected)) {
        fail(`uint8 ${text(expected)}`, `${packed.dtype} ${text(packed.shape)}`);
      }
      if (!sameShape(scales.shape, [N * blocks])) fail(text([N * blocks]), text(scales.shape));
      return [{ dtype: x.dtype, shape: [...x.shape.slice(0, -1), N] }];
    },
  },
  Max: binary,
  Min: binary,
  Mul: binary,
  MultiHeadAttention: {
    domain: 'com.microsoft',
    arity: [3, 4],
    places: [0, 1, 2, 5],
    infer: inferMultiHeadAttention,
  },
  Neg: unary,
  Pad: {
    arity: [1, 1],
    tensorAttributes: ['pads'],
    infer: ([x], { pads }) => {
      const rank = x.shape.length;
      if (pads.length !== 2 * rank) fail(`${2 * rank} pads`, String(pads.length));
      return [{ dtype: x.dtype, shape: x.shape.map((extent, i) => addDims(extent, pads[i] + pads[rank + i])) }];
    },
  },
  QuantizeLinear: {
    arity: [3, 3],
    infer: ([x, scale, zero]) => {
      if (scale.shape.length !== 0 || zero.shape.length !== 0) fail('scalars', text(scale.shape, zero.shape));
      return [{ dtype: zero.dtype, shape: x.shape }];
    },
  },
  ReduceMax: reduce,
  ReduceMean: reduce,
  ReduceSum: reduce,
  Relu: unary,
  Reshape: {
    arity: [1, 1],
    tensorAttributes: ['shape'],
    infer: ([x], { shape }) => {
      if (elementCount(x.shape) !== elementCount(shape)) {
        fail(`as many elements as ${text(x.shape)} has`, text(shape));
      }
      reshapeTarget(x.shape, shape);
      return [{ dtype: x.dtype, shape }];
    },
  },
  ScatterND: {
    arity: [3, 3],
    infer: ([x, indices, updates]) => {
      const depth = fixedDimAt(indices.shape, -1);
      const expected = [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
      if (!sameShape(updates.shape, expected)) fail(`updates ${text(expected)}`, text(updates.shape));
      if (indices.dtype !== 'int64') fail('int64 indices', indices.dtype);
      return [x];
    },
  },
  Sigmoid: unary,
  Slice: { arity: [1, 1], tensorAttributes: ['starts', 'ends', 'axes', 'steps'], infer: inferSlice },
  Softmax: { arity: [1, 1], infer: ([x], { axis }) => [{ dtype: x.dtype, shape: withAxis(x.shape, axis) }] },
  Split: {
    arity: [1, 1],
    tensorAttributes: ['split'],
    infer: ([x], { split, axis }) => {
      const at = positive(axis, x.shape.length);
      const total = split.reduce((a, b) => a + b, 0);
      if (dimAt(x.shape, at) !== total) fail(`axis ${at} of extent ${total}`, text(x.shape));
      return split.map((size) => ({ dtype: x.dtype, shape: x.shape.map((extent, i) => (i === at ? size : extent)) }));
    },
  },
  Sqrt: unary,
  Sub: binary,
  Tanh: unary,
  Transpose: {
    arity: [1, 1],
    infer: ([x], { perm }) => {
      const sorted = [...perm].sort((a, b) => a - b);
      if (perm.length !== x.shape.length || sorted.some((axis, i) => axis !== i)) {
        fail(`a permutation of ${x.shape.length} axes`, `[${perm}]`);
      }
      return [{ dtype: x.dtype, shape: perm.map((axis) => dimAt(x.shape, axis)) }];
    },
  },
  Where: {
    arity: [3, 3],
    infer: ([condition, a, b]) => {
      if (condition.dtype !== 'bool') fail('a bool condition', condition.dtype);
      return [{ dtype: sameDType([a, b]), shape: broadcastAll([condition, a, b]) }];
    },
  },
};
