import { floatView, sizeOf, type Tensor } from '../core/tensor.js';
import { type Init, normalInit, type ParameterSpec, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { fixedDimAt, type Shape } from '../graph/dims.js';
import { add, flattenRows, matMulTransposed, pad, reshape } from '../graph/functions.js';
import { isQuantized, quantizedProduct } from './quantized.js';

export interface LinearOptions {
  readonly bias?: boolean;
  readonly init?: Init;
  /** No value of x is below zero. */
  readonly nonNegative?: boolean;
  /** Of x; what it has after them counts nothing. Default: all. */
  readonly inFeatures?: number;
  /** So many places after the results, of no meaning. */
  readonly space?: number;
}

/** x [.., in] × `weight` [out, in]ᵀ + `bias` [out]: [.., out]. */
export function linear(
  s: Scope,
  x: Value,
  outFeatures: number,
  { bias = true, init = normalInit(0.02), nonNegative = false, inFeatures, space = 0 }: LinearOptions = {},
): Value {
  const shape = [outFeatures, inFeatures ?? fixedDimAt(x.shape, -1)];
  const [weightSpec, biasSpec] = [s.spec('weight', shape, init), s.spec('bias', [outFeatures], zerosInit)];
  const outs = outFeatures + space;
  const biasValue = bias ? spaced(s, 'bias', biasSpec, [outs]) : undefined;
  if (isQuantized(s, shape)) {
    const product = quantizedProduct(s, x, weightSpec, nonNegative);
    return biasValue ? add(s, product, biasValue) : product;
  }
  const rows = pad(s, x, { [x.shape.length - 1]: [0, spaceFor(s, x.shape)] });
  return linearWith(s, rows, spaced(s, 'weight', weightSpec, [outs, fixedDimAt(rows.shape, -1)]), biasValue);
}

/** Float32 values after which addresses fall into the same places of a processor's first cache. */
const cacheStride = 1024;
/** One line of the cache. */
const cacheLine = 16;
/** Rows from which on a product gains more than its space costs. */
const manyRows = 48;

/**
 * How many places rows [.., C] of a product's first operand should have between them. ONNX Runtime's kernel goes through twelve rows at once; 4,096
 * bytes apart they drive each other out of the cache (a product of 1,024 × 1,024 is a tenth slower on a Zen 4).
 */
export function spaceFor({ lowering }: Scope, shape: Shape): number {
  const rows = sizeOf(shape.slice(0, -1).filter((extent) => typeof extent === 'number'));
  const other = lowering.attention === 'plain' || lowering.weightBits !== 32;
  return other || rows < manyRows || fixedDimAt(shape, -1) % cacheStride !== 0 ? 0 : cacheLine;
}

/** A parameter with zeros after its values along each axis: of `shape`. */
function spaced(s: Scope, name: string, spec: ParameterSpec, shape: readonly number[]): Value {
  if (String(shape) === String(spec.shape)) return s.parameter(name, shape, spec.init);
  const outputs = [{ name: `${name}.spaced`, type: { dtype: 'float32', shape } }] as const;
  return s.derive(outputs, { sources: [spec], layout: true, compute: ([source]) => [withSpace(source, shape)] })[0];
}

function withSpace({ shape: from, data }: Tensor<'float32'>, shape: readonly number[]): Tensor<'float32'> {
  const spread = new Float32Array(sizeOf(shape));
  const [width, wide] = [from[from.length - 1], shape[shape.length - 1]];
  for (let row = 0; row * width < data.length; row++) {
    spread.set(data.subarray(row * width, (row + 1) * width), row * wide);
  }
  return floatView(shape, spread);
}

/** The same with given tensors: for tied weights and for weights that are stored in another shape. */
export function linearWith(s: Scope, x: Value, weight: Value, bias?: Value): Value {
  const symbolic = x.shape.slice(0, -1).filter((extent) => typeof extent === 'string').length;
  if (symbolic > 1) {
    // Folding several symbolic axes into one and back would need their sizes as tensors.
    const product = matMulTransposed(s, x, weight);
    return bias ? add(s, product, bias) : product;
  }
  const rows = s.op('Gemm', bias ? [flattenRows(s, x), weight, bias] : [flattenRows(s, x), weight], { transB: 1 });
  return reshape(s, rows, [...x.shape.slice(0, -1), fixedDimAt(weight.shape, 0)]);
}
