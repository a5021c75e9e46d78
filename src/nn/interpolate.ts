import { floats } from '../core/tensor.js';
import type { Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { matMul, reshape } from '../graph/functions.js';

/** Cubic convolution with a = -0.75, PyTorch's: the weight of a sample at a distance. */
function cubic(distance: number): number {
  const a = -0.75;
  const d = Math.abs(distance);
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/** The matrix [to, from] of F.interpolate(mode='bicubic', align_corners=False) along one axis; edges are repeated. */
export function bicubicMatrix(from: number, to: number): Float32Array {
  const weights = new Float32Array(to * from);
  for (let row = 0; row < to; row++) {
    const at = (row + 0.5) * (from / to) - 0.5;
    const first = Math.floor(at) - 1;
    for (let tap = first; tap < first + 4; tap++) {
      weights[row * from + Math.min(Math.max(tap, 0), from - 1)] += cubic(at - tap);
    }
  }
  return weights;
}

/** A map [h, w, C] resized bicubically, as position embeddings are for another image size: [h', w', C]. */
export function interpolateGrid(s: Scope, grid: Value, [toH, toW]: readonly [number, number]): Value {
  const [h, w, C] = [0, 1, 2].map((axis) => fixedDimAt(grid.shape, axis));
  if (h === toH && w === toW) return grid;
  const down = s.constant(floats([toH, h], bicubicMatrix(h, toH)));
  const across = s.constant(floats([toW, w], bicubicMatrix(w, toW)));
  const rows = reshape(s, matMul(s, down, reshape(s, grid, [h, w * C])), [toH, w, C]);
  return matMul(s, across, rows); // [h', w', C]
}
