import { type Init, normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { add, flattenRows, matMulTransposed, reshape } from '../graph/functions.js';
import { isQuantized, quantizedProduct } from './quantized.js';

export interface LinearOptions {
  readonly bias?: boolean;
  readonly init?: Init;
  /** No value of x is below zero. */
  readonly nonNegative?: boolean;
}

/** x [.., in] × `weight` [out, in]ᵀ + `bias` [out]: [.., out]. */
export function linear(
  s: Scope,
  x: Value,
  outFeatures: number,
  { bias = true, init = normalInit(0.02), nonNegative = false }: LinearOptions = {},
): Value {
  const shape = [outFeatures, fixedDimAt(x.shape, -1)];
  const biasValue = bias ? s.parameter('bias', [outFeatures], zerosInit) : undefined;
  if (isQuantized(s, shape)) {
    const product = quantizedProduct(s, x, s.spec('weight', shape, init), nonNegative);
    return biasValue ? add(s, product, biasValue) : product;
  }
  return linearWith(s, x, s.parameter('weight', shape, init), biasValue);
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
