import { normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';

export interface ConvOptions {
  readonly stride?: readonly [number, number];
  /** Zeros on every side. */
  readonly padding?: number;
  readonly bias?: boolean;
}

/** A square convolution: x [B, C, H, W], `weight` [out, C, size, size]: [B, out, H', W']. */
export function conv2d(
  s: Scope,
  x: Value,
  outChannels: number,
  size: number,
  { stride = [1, 1], padding = 0, bias = false }: ConvOptions = {},
): Value {
  const inChannels = fixedDimAt(x.shape, 1);
  const std = 1 / Math.sqrt(inChannels * size * size);
  const weight = s.parameter('weight', [outChannels, inChannels, size, size], normalInit(std));
  return s.op('Conv', bias ? [x, weight, s.parameter('bias', [outChannels], zerosInit)] : [x, weight], {
    kernelShape: [size, size],
    strides: stride,
    pads: [padding, padding, padding, padding],
  });
}
