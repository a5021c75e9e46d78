import type { Tensor } from '../core/tensor.js';
import type { ParameterSpec, Scope, Value } from '../graph/builder.js';

/** Inputs that share a scale. */
export const blockSize = 64;

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
 * MatMulNBits' operands for a weight [N, K]: packed [N, blocks, blockSize·bits/8] uint8 and scales [N·blocks] float32.
 * Symmetric: value = (stored - 2^(bits-1)) · scale; 4-bit values are packed two a byte, the first in the low half.
 */
export function quantizedWeight(s: Scope, source: ParameterSpec, bits: 4 | 8): readonly [Value, Value] {
  const [N, K] = source.shape;
  const blocks = Math.ceil(K / blockSize);
  const [packed, scales] = s.derive(
    [
      { name: 'weight.quantized', type: { dtype: 'uint8', shape: [N, blocks, (blockSize * bits) / 8] } },
      { name: 'weight.scales', type: { dtype: 'float32', shape: [N * blocks] } },
    ],
    { sources: [source], compute: ([weight]) => quantize(weight, bits) },
  );
  return [packed, scales];
}

/** A float32 weight [N, K] as packed blocks and scales. */
export function quantize({ shape: [N, K], data }: Tensor<'float32'>, bits: 4 | 8): readonly [Tensor, Tensor] {
  const blocks = Math.ceil(K / blockSize);
  const bytesPerBlock = (blockSize * bits) / 8;
  const packed = new Uint8Array(N * blocks * bytesPerBlock);
  const scales = new Float32Array(N * blocks);
  const middle = 2 ** (bits - 1);
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
        const stored = Math.max(0, Math.min(2 * middle - 1, value + middle));
        if (bits === 8) packed[at * bytesPerBlock + i] = stored;
        else packed[at * bytesPerBlock + (i >> 1)] |= stored << (4 * (i & 1));
      }
    }
  }
  return [
    { dtype: 'uint8', shape: [N, blocks, bytesPerBlock], data: packed },
    { dtype: 'float32', shape: [N * blocks], data: scales },
  ];
}

/** Float32 weights [N, K] again, from `quantize`'s result. */
export function dequantize(packed: Tensor, scales: Tensor, K: number, bits: 4 | 8): Tensor<'float32'> {
  const [N, blocks, bytesPerBlock] = packed.shape;
  const [bytes, steps] = [packed.data as Uint8Array, scales.data as Float32Array];
  const data = new Float32Array(N * K);
  const middle = 2 ** (bits - 1);
  for (let row = 0; row < N; row++) {
    for (let column = 0; column < K; column++) {
      const at = row * blocks + Math.floor(column / blockSize);
      const i = column % blockSize;
      const byte = bytes[at * bytesPerBlock + (bits === 8 ? i : i >> 1)];
      const stored = bits === 8 ? byte : (byte >> (4 * (i & 1))) & 15;
      data[row * K + column] = (stored - middle) * steps[at];
    }
  }
  return { dtype: 'float32', shape: [N, K], data };
}

/**
 * The step for one block. The value of largest magnitude is mapped to -2^(bits-1), the one level that has no opposite, so
 * all levels are used.
 */
function blockScale(data: Float32Array, start: number, end: number, middle: number): number {
  let extreme = 0;
  for (let i = start; i < end; i++) if (Math.abs(data[i]) > Math.abs(extreme)) extreme = data[i];
  return Math.fround(extreme / -middle);
}
