import { floats } from '../core/tensor.js';
import { onesInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';

export interface LayerNormOptions {
  readonly epsilon: number;
  /** Without a learned weight and bias when false. */
  readonly affine?: boolean;
}

/** (x - mean) / sqrt(variance + epsilon) over the last axis, biased variance; times `weight`, plus `bias`. Shape of x. */
export function layerNorm(s: Scope, x: Value, { epsilon, affine = true }: LayerNormOptions): Value {
  const width = fixedDimAt(x.shape, -1);
  const affineInputs = affine
    ? [s.parameter('weight', [width], onesInit), s.parameter('bias', [width], zerosInit)]
    : [s.constant(floats([width], new Float32Array(width).fill(1)))];
  return s.op('LayerNormalization', [x, ...affineInputs], { axis: -1, epsilon });
}
