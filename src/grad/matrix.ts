import type { Scope, Value } from '../graph/builder.js';
import { elementCount } from '../graph/dims.js';
import { flattenRows, reshape } from '../graph/functions.js';

interface Transposed {
  readonly transA: boolean;
  readonly transB: boolean;
  readonly alpha: number;
}

/** alpha · op(a) × op(b) over the last two axes. */
function product(s: Scope, a: Value, b: Value, { transA, transB, alpha }: Transposed): Value {
  if (!transA && !transB && alpha === 1) return s.op('MatMul', [a, b], {});
  return s.op('FusedMatMul', [a, b], { transA: transA ? 1 : 0, transB: transB ? 1 : 0, alpha });
}

/** Both gradients of alpha · op(a) × op(b), over the same batch axes as `g`; those that were broadcast are not summed yet. */
export function productGradients(
  s: Scope,
  [a, b]: readonly Value[],
  g: Value,
  { transA, transB, alpha }: Transposed,
): readonly [() => Value, () => Value] {
  const ofA = () =>
    transA
      ? product(s, b, g, { transA: transB, transB: true, alpha })
      : product(s, g, b, { transA: false, transB: !transB, alpha });
  const ofB = () => {
    // A weight that all rows share: one product over all rows, not one per batch entry to be summed.
    const shared = b.shape.length === 2 && a.shape.length > 2 && !transA;
    const [rows, slopes] = shared ? [flattenRows(s, a), flattenRows(s, g)] : [a, g];
    return transB
      ? product(s, slopes, rows, { transA: true, transB: transA, alpha })
      : product(s, rows, slopes, { transA: !transA, transB: false, alpha });
  };
  return [ofA, ofB];
}

export interface Kernel {
  readonly kernelShape: readonly number[];
  readonly strides: readonly number[];
  readonly pads: readonly number[];
}

/**
 * The gradient of a convolution's kernel: [small channels, wide channels, h, w]. `small` [B, C, h', w'] is the strided side (a
 * Conv's output, a ConvTranspose's input), `wide` the other. One product per place of the kernel.
 */
export function kernelGradient(s: Scope, small: Value, wide: Value, { kernelShape, strides, pads }: Kernel): Value {
  const [B, C, h, w] = small.shape.map(Number);
  const channels = Number(wide.shape[1]);
  const [top, left, bottom, right] = pads;
  const anyPads = pads.some((amount) => amount > 0);
  const padded = anyPads ? s.op('Pad', [wide], { pads: [0, 0, top, left, 0, 0, bottom, right] }) : wide;
  const rows = reshape(s, s.op('Transpose', [small], { perm: [1, 0, 2, 3] }), [C, B * h * w]);
  const places: Value[] = [];
  for (let i = 0; i < kernelShape[0]; i++) {
    for (let j = 0; j < kernelShape[1]; j++) {
      const seen = s.op('Slice', [padded], {
        starts: [i, j],
        ends: [i + (h - 1) * strides[0] + 1, j + (w - 1) * strides[1] + 1],
        axes: [2, 3],
        steps: strides,
      }); // [B, channels, h, w]
      const columns = reshape(s, s.op('Transpose', [seen], { perm: [0, 2, 3, 1] }), [B * h * w, channels]);
      places.push(reshape(s, s.op('MatMul', [rows, columns], {}), [C, channels, 1]));
    }
  }
  return reshape(s, s.op('Concat', places, { axis: 2 }), [C, channels, ...kernelShape]);
}

/** Updates for ScatterND and the row numbers that a Gather along axis 0 took: [.., 1]. */
export function rowIndices(s: Scope, indices: Value): Value {
  const wide = indices.dtype === 'int64' ? indices : s.op('Cast', [indices], { to: 'int64' });
  return reshape(s, wide, [elementCount(indices.shape), 1]);
}
