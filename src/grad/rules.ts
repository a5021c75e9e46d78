/**
 * One gradient rule per op: from the gradients of a node's outputs to those of its inputs. A rule may return a gradient that
 * still has to be summed over broadcast axes, or broadcast along reduced ones: the walk in backward.ts does both, once.
 */
import { ShapeError } from '../core/errors.js';
import { ints, zeros } from '../core/tensor.js';
import type { Node, Scope, Value } from '../graph/builder.js';
import { dimAt, elementCount, type Shape } from '../graph/dims.js';
import { add, cast, div, mul, reshape, scalar, scale, sub, transpose } from '../graph/functions.js';
import { type OpAttributes, type OpName, sliceEnd } from '../graph/ops.js';
import { kernelGradient, productGradients, rowIndices } from './matrix.js';

export interface GradContext<K extends OpName> {
  readonly s: Scope;
  readonly node: Node<K>;
  readonly attributes: OpAttributes[K];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  /** The gradient of the first output, which must have one. */
  readonly g: Value;
  /** Gradients of all outputs; undefined where nothing depends on one. */
  readonly gradients: readonly (Value | undefined)[];
}

/** Per input its gradient, made only when it is asked for; undefined where there is none. */
export type InputGradients = readonly ((() => Value) | undefined)[];
export type GradRule<K extends OpName> = (context: GradContext<K>) => InputGradients;

const neg = (s: Scope, x: Value) => s.op('Neg', [x], {});
const sum = (s: Scope, x: Value, axis: number) => s.op('ReduceSum', [x], { axes: [axis], keepdims: 1 });
const lessOrEqual = (s: Scope, a: Value, b: Value) => s.op('LessOrEqual', [a, b], {});
/** `value` where the condition holds, else 0. */
const where = (s: Scope, condition: Value, value: Value) => s.op('Where', [condition, value, scalar(s, 0)], {});
const whereNot = (s: Scope, condition: Value, value: Value) => s.op('Where', [condition, scalar(s, 0), value], {});
const rank = (x: Value) => x.shape.length;
const axisOf = (x: Value, axis: number) => (axis < 0 ? axis + rank(x) : axis);
const fixed = (shape: Shape, what: string): number[] => {
  if (shape.every((extent) => typeof extent === 'number')) return shape as number[];
  throw new ShapeError(`${what}: gradients need known extents, got [${shape.join(', ')}]`);
};

type Unary = 'Abs' | 'Erf' | 'Exp' | 'Log' | 'Neg' | 'Relu' | 'Sigmoid' | 'Sqrt' | 'Tanh';
/** For one input and one output: gradient from (scope, g, x, y). */
const unary =
  (slope: (s: Scope, g: Value, x: Value, y: Value) => Value): GradRule<Unary> =>
  ({ s, g, inputs: [x], outputs: [y] }) => [() => slope(s, g, x, y)];

/** All where mine wins, half on a tie: what PyTorch's maximum and minimum do. */
const pick = (greater: boolean): GradRule<'Max' | 'Min'> => {
  const share = (s: Scope, g: Value, mine: Value, other: Value) => {
    const [low, high] = greater ? [other, mine] : [mine, other];
    const half = scale(s, g, 0.5);
    return add(s, where(s, lessOrEqual(s, low, high), half), whereNot(s, lessOrEqual(s, high, low), half));
  };
  return ({ s, g, inputs: [a, b] }) => [() => share(s, g, a, b), () => share(s, g, b, a)];
};

/** x's shape with the reduced axes as 1, so that a reduced gradient broadcasts. */
function keptShape(x: Value, axes: readonly number[]): Shape {
  const gone = new Set(axes.map((axis) => axisOf(x, axis)));
  return x.shape.map((extent, i) => (gone.has(i) ? 1 : extent));
}

/** Cuts a gradient back to what was there before padding. */
function unpad(s: Scope, g: Value, x: Value, pads: readonly number[]): Value {
  const axes = x.shape.flatMap((_, axis) => (pads[axis] !== 0 || pads[rank(x) + axis] !== 0 ? [axis] : []));
  if (axes.length === 0) return g;
  const starts = axes.map((axis) => pads[axis]);
  const ends = axes.map((axis) => (pads[rank(x) + axis] === 0 ? sliceEnd : -pads[rank(x) + axis]));
  return s.op('Slice', [g], { starts, ends, axes });
}

/** Puts a slice's gradient back in its place among zeros. */
function unslice(s: Scope, g: Value, x: Value, { starts, ends, axes, steps }: OpAttributes['Slice']): Value {
  const shape = fixed(x.shape, 'Slice');
  const pads = new Array<number>(2 * rank(x)).fill(0);
  let spread = g;
  axes.forEach((at, i) => {
    const axis = axisOf(x, at);
    const step = steps?.[i] ?? 1;
    const start = Math.min(starts[i] < 0 ? starts[i] + shape[axis] : starts[i], shape[axis]);
    const end = Math.min(ends[i] < 0 ? ends[i] + shape[axis] : ends[i], shape[axis]);
    if (step !== 1) spread = interleaveZeros(s, spread, axis, step, end - start);
    pads[axis] = start;
    pads[rank(x) + axis] = shape[axis] - end;
  });
  return pads.every((amount) => amount === 0) ? spread : s.op('Pad', [spread], { pads });
}

/** g0 0 .. 0 g1 0 .. 0: `step` places for each element along an axis, cut to `length`. */
function interleaveZeros(s: Scope, g: Value, axis: number, step: number, length: number): Value {
  const shape = fixed(g.shape, 'Slice');
  const apart = reshape(s, g, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
  const pads = new Array<number>(2 * (rank(g) + 1)).fill(0);
  pads[rank(g) + 1 + axis + 1] = step - 1;
  const padded = s.op('Pad', [apart], { pads });
  const joined = reshape(s, padded, [...shape.slice(0, axis), shape[axis] * step, ...shape.slice(axis + 1)]);
  return shape[axis] * step === length
    ? joined
    : s.op('Slice', [joined], { starts: [0], ends: [length], axes: [axis] });
}

/** Adds rows of g where a Gather along `axis` took them. */
function ungather(s: Scope, g: Value, x: Value, indices: Value, axis: number): Value {
  const shape = fixed(x.shape, 'Gather');
  const at = axisOf(x, axis);
  const picked = indices.shape.map((_, i) => at + i);
  const others = [...x.shape.keys()].filter((i) => i !== at);
  // Picked axes to the front, the rest in order behind them.
  const rest = others.map((i) => (i < at ? i : i + picked.length - 1));
  const front = at === 0 ? g : transpose(s, g, [...picked, ...rest]);
  const restShape = others.map((i) => shape[i]);
  const rows = reshape(s, front, [elementCount(indices.shape), ...restShape]);
  const base = s.constant(zeros('float32', [shape[at], ...restShape]));
  const summed = s.op('ScatterND', [base, rowIndices(s, indices), rows], { reduction: 'add' });
  const back = x.shape.map((_, i) => (i === at ? 0 : 1 + others.indexOf(i)));
  return at === 0 ? summed : transpose(s, summed, back);
}

/** Adds elements of g where a GatherElements along `axis` took them, by comparing every place with every index. */
function ungatherElements(s: Scope, g: Value, x: Value, indices: Value, axis: number): Value {
  const at = axisOf(x, axis);
  const extent = fixed(x.shape, 'GatherElements')[at];
  const spread = (value: Value) => reshape(s, value, [...value.shape.slice(0, at), 1, ...value.shape.slice(at)]); // one place against all indices
  const iotaShape = [extent, 1, ...x.shape.slice(at + 1).map(() => 1)];
  const places = s.constant(
    ints(
      iotaShape,
      Array.from({ length: extent }, (_, i) => i),
    ),
  );
  const same = s.op('Equal', [spread(indices), places], {}); // [.., extent, indices, ..]
  return s.op('ReduceSum', [where(s, same, spread(g))], { axes: [at + 1], keepdims: 0 });
}

/** The elements or rows that ScatterND's indices name. */
function gatherNd(s: Scope, x: Value, indices: Value, like: Value): Value {
  const depth = Number(dimAt(indices.shape, -1));
  const shape = fixed(x.shape, 'ScatterND');
  const strides = Array.from({ length: depth }, (_, i) => shape.slice(i + 1, depth).reduce((a, b) => a * b, 1));
  const linear = sum(s, mul(s, indices, s.constant(ints([depth], strides))), -1);
  const rows = reshape(s, x, [elementCount(shape.slice(0, depth)), ...shape.slice(depth)]);
  const picked = s.op('Gather', [rows, reshape(s, linear, [elementCount(indices.shape.slice(0, -1))])], { axis: 0 });
  return reshape(s, picked, like.shape);
}

/** y'(x) of Gelu, exact or by tanh. */
function geluSlope(s: Scope, x: Value, approximate: OpAttributes['Gelu']['approximate']): Value {
  const one = scalar(s, 1);
  if (approximate === 'tanh') {
    const [a, b] = [Math.sqrt(2 / Math.PI), 0.044715];
    const square = mul(s, x, x);
    const inner = scale(s, mul(s, x, add(s, one, scale(s, square, b))), a);
    const t = s.op('Tanh', [inner], {});
    const innerSlope = scale(s, add(s, one, scale(s, square, 3 * b)), a);
    const bend = mul(s, mul(s, x, sub(s, one, mul(s, t, t))), innerSlope);
    return scale(s, add(s, add(s, one, t), bend), 0.5);
  }
  const cdf = scale(s, add(s, s.op('Erf', [scale(s, x, Math.SQRT1_2)], {}), one), 0.5);
  const density = scale(s, s.op('Exp', [scale(s, mul(s, x, x), -0.5)], {}), 1 / Math.sqrt(2 * Math.PI));
  return add(s, cdf, mul(s, x, density));
}

const layerNormalization: GradRule<'LayerNormalization'> = ({ s, g, inputs, outputs, attributes }) => {
  const [x, weight] = inputs;
  const [, mean, inverseStd] = outputs;
  const first = axisOf(x, attributes.axis);
  const inner = Array.from({ length: rank(x) - first }, (_, i) => first + i);
  let shared: Value | undefined;
  const normalised = () => {
    shared ??= mul(s, sub(s, x, mean), inverseStd);
    return shared;
  };
  const average = (value: Value) => s.op('ReduceMean', [value], { axes: inner, keepdims: 1 });
  const ofX = () => {
    const slope = mul(s, g, weight);
    const along = mul(s, normalised(), average(mul(s, slope, normalised())));
    return mul(s, sub(s, sub(s, slope, average(slope)), along), inverseStd);
  };
  return [ofX, () => mul(s, g, normalised()), () => g];
};

const gemm: GradRule<'Gemm'> = ({ s, g, inputs: [a, b], attributes }) => {
  const { transA = 0, transB = 0, alpha = 1, beta = 1 } = attributes;
  const [ofA, ofB] = productGradients(s, [a, b], g, { transA: transA === 1, transB: transB === 1, alpha });
  return [ofA, ofB, () => (beta === 1 ? g : scale(s, g, beta))];
};

const conv: GradRule<'Conv'> = ({ s, g, inputs: [x, w], attributes }) => {
  const { kernelShape, strides, pads } = attributes;
  const outputPadding = [0, 1].map((i) => {
    const covered = (Number(g.shape[2 + i]) - 1) * strides[i] + kernelShape[i] - pads[i] - pads[2 + i];
    return Number(x.shape[2 + i]) - covered;
  });
  return [
    () => s.op('ConvTranspose', [g, w], { kernelShape, strides, pads, outputPadding }),
    () => kernelGradient(s, g, x, attributes),
    () => s.op('ReduceSum', [g], { axes: [0, 2, 3], keepdims: 0 }),
  ];
};

const convTranspose: GradRule<'ConvTranspose'> = ({ s, g, inputs: [x, w], attributes }) => {
  const { kernelShape, strides, pads } = attributes;
  return [
    () => s.op('Conv', [g, w], { kernelShape, strides, pads }),
    () => kernelGradient(s, x, g, attributes),
    () => s.op('ReduceSum', [g], { axes: [0, 2, 3], keepdims: 0 }),
  ];
};

/** A `keepdims` gradient; the walk broadcasts it to the input. */
const reduced = ({ s, g, inputs: [x], attributes }: GradContext<'ReduceMax' | 'ReduceMean' | 'ReduceSum'>) =>
  reshape(s, g, keptShape(x, attributes.axes));

export const rules: { readonly [K in OpName]: GradRule<K> | 'none' } = {
  Abs: unary((s, g, x) => {
    const zero = scalar(s, 0);
    return sub(s, whereNot(s, lessOrEqual(s, x, zero), g), whereNot(s, lessOrEqual(s, zero, x), g));
  }),
  Add: ({ g }) => [() => g, () => g],
  ArgMax: 'none',
  Cast: ({ s, g, inputs: [x] }) => [() => cast(s, g, x.dtype)],
  Concat: ({ s, g, inputs, attributes: { axis } }) => {
    if (inputs.length === 1) return [() => g];
    let parts: readonly Value[] | undefined;
    const split = inputs.map((input) => fixed([dimAt(input.shape, axis)], 'Concat')[0]);
    return inputs.map((_, i) => () => {
      parts ??= s.ops('Split', [g], { split, axis });
      return parts[i];
    });
  },
  Conv: conv,
  ConvTranspose: convTranspose,
  Div: ({ s, g, inputs: [, b], outputs: [y] }) => [() => div(s, g, b), () => neg(s, div(s, mul(s, g, y), b))],
  Equal: 'none',
  Erf: unary((s, g, x) => mul(s, g, scale(s, s.op('Exp', [neg(s, mul(s, x, x))], {}), 2 / Math.sqrt(Math.PI)))),
  Exp: unary((s, g, _, y) => mul(s, g, y)),
  Expand: ({ g }) => [() => g],
  FusedMatMul: ({ s, g, inputs, attributes: { transA = 0, transB = 0, alpha = 1 } }) =>
    productGradients(s, inputs, g, { transA: transA === 1, transB: transB === 1, alpha }),
  Gather: ({ s, g, inputs: [x, indices], attributes: { axis } }) => [() => ungather(s, g, x, indices, axis), undefined],
  GatherElements: ({ s, g, inputs: [x, indices], attributes: { axis } }) => [
    () => ungatherElements(s, g, x, indices, axis),
    undefined,
  ],
  Gelu: ({ s, g, inputs: [x], attributes: { approximate } }) => [() => mul(s, g, geluSlope(s, x, approximate))],
  Gemm: gemm,
  // Inference kernels: the plain lowering has gradients.
  GroupQueryAttention: 'none',
  Identity: () => [undefined],
  LayerNormalization: layerNormalization,
  LessOrEqual: 'none',
  Log: unary((s, g, x) => div(s, g, x)),
  LogSoftmax: ({ s, g, outputs: [y], attributes: { axis } }) => [
    () => sub(s, g, mul(s, s.op('Exp', [y], {}), sum(s, g, axis))),
  ],
  MatMul: ({ s, g, inputs }) => productGradients(s, inputs, g, { transA: false, transB: false, alpha: 1 }),
  MatMulIntegerToFloat: 'none',
  MatMulNBits: 'none',
  Max: pick(true),
  Min: pick(false),
  Mul: ({ s, g, inputs: [a, b] }) => [() => mul(s, g, b), () => mul(s, g, a)],
  MultiHeadAttention: 'none',
  Neg: unary((s, g) => neg(s, g)),
  Pad: ({ s, g, inputs: [x], attributes: { pads } }) => [() => unpad(s, g, x, pads)],
  QuantizeLinear: 'none',
  // PyTorch's amax: a gradient is shared by all places that hold the largest value.
  ReduceMax: (context) => {
    const { s, inputs, outputs, attributes } = context;
    return [
      () => {
        const [x] = inputs;
        const best = s.op('Equal', [x, reshape(s, outputs[0], keptShape(x, attributes.axes))], {});
        const ones = where(s, best, scalar(s, 1));
        const count = s.op('ReduceSum', [ones], { axes: attributes.axes, keepdims: 1 });
        return mul(s, ones, div(s, reduced(context), count));
      },
    ];
  },
  ReduceMean: (context) => {
    const { s, inputs, attributes } = context;
    const count = attributes.axes.map((axis) => fixed([dimAt(inputs[0].shape, axis)], 'ReduceMean')[0]);
    return [() => scale(s, reduced(context), 1 / count.reduce((a, b) => a * b, 1))];
  },
  ReduceSum: (context) => [() => reduced(context)],
  // Times 0 or 1: Where takes several times as long. 2^-149 is the least float32 above zero.
  Relu: unary((s, g, x) => mul(s, g, cast(s, lessOrEqual(s, scalar(s, 2 ** -149), x), 'float32'))),
  Reshape: ({ s, g, inputs: [x] }) => [() => reshape(s, g, x.shape)],
  ScatterND: ({ s, g, inputs: [, indices, updates], attributes: { reduction = 'none' } }) => [
    () => {
      if (reduction === 'add') return g;
      const shape = fixed(updates.shape, 'ScatterND');
      return s.op('ScatterND', [g, indices, s.constant(zeros('float32', shape))], {});
    },
    undefined,
    () => gatherNd(s, g, indices, updates),
  ],
  Sigmoid: unary((s, g, _, y) => mul(s, g, mul(s, y, sub(s, scalar(s, 1), y)))),
  Slice: ({ s, g, inputs: [x], attributes }) => [() => unslice(s, g, x, attributes)],
  Softmax: ({ s, g, outputs: [y], attributes: { axis } }) => [
    () => {
      const weighted = mul(s, g, y);
      return sub(s, weighted, mul(s, y, sum(s, weighted, axis)));
    },
  ],
  Split: ({ s, gradients, outputs, attributes: { axis } }) => [
    () => {
      const parts = gradients.map((part, i) => {
        return part ?? s.constant(zeros('float32', fixed(outputs[i].shape, 'Split')));
      });
      return s.op('Concat', parts, { axis });
    },
  ],
  Sqrt: unary((s, g, _, y) => div(s, scale(s, g, 0.5), y)),
  Sub: ({ s, g }) => [() => g, () => neg(s, g)],
  Tanh: unary((s, g, _, y) => mul(s, g, sub(s, scalar(s, 1), mul(s, y, y)))),
  Transpose: ({ s, g, attributes: { perm } }) => [
    () =>
      transpose(
        s,
        g,
        perm.map((_, i) => perm.indexOf(i)),
      ),
  ],
  Where: ({ s, g, inputs: [condition] }) => [undefined, () => where(s, condition, g), () => whereNot(s, condition, g)],
};
