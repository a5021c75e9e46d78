/** Weights in 8 or 4 bits (docs/decisions/0002-quantization.md): products of integers, or weights in blocks. */
import { floats, type Tensor } from '../core/tensor.js';
import type { ParameterSpec, Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { add, div, mul, scalar } from '../graph/functions.js';

/** Inputs that share a scale, where weights of so many bits are in blocks. */
export const blockSizes = { 4: 64, 8: 128 } as const;

/** Fewer weights than this are not worth quantizing: they cost no time, and short sums do not average the error away. */
const minWeights = 1 << 16;

/** Whether the lowering quantizes a weight of this shape; the others stay float32. */
export function isQuantized(s: Scope, shape: readonly number[]): boolean {
  return s.lowering.weightBits !== 32 && shape[0] * shape[1] >= minWeights;
}

/**
 * The same scope with 8 bits at least: for weights whose rounding to 4 costs the logits most (docs/decisions/0002-quantization.md),
 * which are values and what follows them; queries, keys and the head bear it.
 */
export const delicate = (s: Scope): Scope => (s.lowering.weightBits === 4 ? s.lowered({ weightBits: 8 }) : s);

/**
 * x [.., in] × sourceᵀ [out, in] with the source in the lowering's bits. Owns `<scope>.weight.quantized` and `.scales`. `nonNegative` where no
 * value of x is below zero.
 */
export function quantizedProduct(s: Scope, x: Value, source: ParameterSpec, nonNegative = false): Value {
  return s.lowering.inputBits === 32 ? blockProduct(s, x, source) : integerProduct(s, x, source, nonNegative);
}

/** The largest level of a weight, to either side of zero. */
const mostLevel = 127;

/** Rows of a value in levels uint8: value = (level - zero) · step · largest, with one `largest` a row [.., 1]. */
interface Levels {
  readonly levels: Value;
  readonly largest: Value;
  readonly step: Value;
  readonly zero: Value;
}

/** The levels of values that have some: what several products share is there once. Any levels that a value has are right for all of them. */
const knownLevels = new WeakMap<Value, Levels>();

/**
 * Products of integers: each row of x in 8 bits by its own largest value (so that no row depends on the others), each column of
 * the weight by its own.
 */
function integerProduct(s: Scope, x: Value, source: ParameterSpec, nonNegative: boolean): Value {
  const { levels, largest, step, zero } = rowLevels(s, x, nonNegative);
  const [weight, scales] = columnLevels(s, source);
  return mul(s, s.op('MatMulIntegerToFloat', [levels, weight, step, scales, zero], {}), largest);
}

/** x [.., K] in levels; `nonNegative` where none of its values is below zero: all levels are above it then. */
function rowLevels(s: Scope, x: Value, nonNegative: boolean): Levels {
  const known = knownLevels.get(x);
  if (known) return known;
  const most = 2 ** s.lowering.inputBits - 1;
  const zeroLevel = nonNegative ? 0 : (most + 1) / 2;
  const step = scalar(s, 1 / (most - zeroLevel));
  const zero = s.constant({ dtype: 'uint8', shape: [], data: Uint8Array.of(zeroLevel) });
  const extreme = s.op('ReduceMax', [nonNegative ? x : s.op('Abs', [x], {})], { axes: [-1], keepdims: 1 });
  // A row of zeros has no largest value to divide by.
  const largest = add(s, extreme, scalar(s, 2 ** -100));
  const levels = s.op('QuantizeLinear', [div(s, x, largest), step, zero], {});
  const result = { levels, largest, step, zero };
  knownLevels.set(x, result);
  return result;
}

/** A weight [N, K] as int8 [K, N] and the step of each column [N]. */
function columnLevels(s: Scope, source: ParameterSpec): readonly [Value, Value] {
  const [N, K] = source.shape;
  const [weight, scales] = s.derive(
    [
      { name: 'weight.quantized', type: { dtype: 'int8', shape: [K, N] } },
      { name: 'weight.scales', type: { dtype: 'float32', shape: [N] } },
    ],
    { sources: [source], compute: ([tensor]) => quantizeColumns(tensor) },
  );
  return [weight, scales];
}

/** A float32 weight [N, K] as levels [K, N] from -127 to 127 and what one level is, per output [N]. */
export function quantizeColumns({ shape: [N, K], data }: Tensor<'float32'>): readonly [Tensor, Tensor] {
  const levels = new Int8Array(K * N);
  const steps = new Float32Array(N);
  for (let row = 0; row < N; row++) {
    let largest = 0;
    for (let i = row * K; i < (row + 1) * K; i++) largest = Math.max(largest, Math.abs(data[i]));
    steps[row] = largest / mostLevel;
    const inverse = largest === 0 ? 0 : mostLevel / largest;
    for (let i = 0; i < K; i++) levels[i * N + row] = Math.round(data[row * K + i] * inverse);
  }
  return [{ dtype: 'int8', shape: [K, N], data: levels }, floats([N], steps)];
}

/** MatMulNBits: weights in blocks; its kernel rounds the inputs as it likes. */
function blockProduct(s: Scope, x: Value, source: ParameterSpec): Value {
  const [N, K] = source.shape;
  const bits = s.lowering.weightBits === 4 ? 4 : 8;
  const blockSize = blockSizes[bits];
  const blocks = Math.ceil(K / blockSize);
  const [packed, scales] = s.derive(
    [
      { name: 'weight.quantized', type: { dtype: 'uint8', shape: [N, blocks, (blockSize * bits) / 8] } },
      { name: 'weight.scales', type: { dtype: 'float32', shape: [N * blocks] } },
    ],
    { sources: [source], compute: ([weight]) => quantizeBlocks(weight, bits) },
  );
  return s.op('MatMulNBits', [x, packed, scales], {
    K: fixedDimAt(x.shape, -1),
    N,
    bits,
    blockSize,
    accuracyLevel: 4,
  });
}

/**
 * A float32 weight [N, K] as MatMulNBits' operands: packed [N, blocks, bytes of a block] uint8 and scales [N·blocks] float32. Value =
 * (stored - the middle of the levels) · scale; of 4 bits two a byte, the first in the low half.
 */
export function quantizeBlocks({ shape: [N, K], data }: Tensor<'float32'>, bits: 4 | 8): readonly [Tensor, Tensor] {
  const blockSize = blockSizes[bits];
  const blocks = Math.ceil(K / blockSize);
  const bytesPerBlock = (blockSize * bits) / 8;
  const middle = 2 ** (bits - 1);
  const [perByte, last] = [8 / bits, 2 * middle - 1];
  const packed = new Uint8Array(N * blocks * bytesPerBlock);
  const scales = new Float32Array(N * blocks);
  for (let row = 0; row < N; row++) {
    for (let block = 0; block < blocks; block++) {
      const start = row * K + block * blockSize;
      const end = Math.min(start + blockSize, (row + 1) * K);
      const at = row * blocks + block;
      const scale = blockScale(data, start, end, middle);
      scales[at] = scale;
      const inverse = scale === 0 ? 0 : 1 / scale;
      for (let i = 0; i < blockSize; i++) {
        const value = start + i < end ? Math.round(data[start + i] * inverse) : 0;
        const stored = Math.max(0, Math.min(last, value + middle));
        packed[at * bytesPerBlock + Math.floor(i / perByte)] |= stored << (bits * (i % perByte));
      }
    }
  }
  return [
    { dtype: 'uint8', shape: [N, blocks, bytesPerBlock], data: packed },
    { dtype: 'float32', shape: [N * blocks], data: scales },
  ];
}

/**
 * The step for one block. The value of largest magnitude is mapped to the one level that has no opposite, the lowest, so all levels are
 * used.
 */
function blockScale(data: Float32Array, start: number, end: number, middle: number): number {
  let extreme = 0;
  for (let i = start; i < end; i++) if (Math.abs(data[i]) > Math.abs(extreme)) extreme = data[i];
  return Math.fround(extreme / -middle);
}
