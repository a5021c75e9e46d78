import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGraphBuilder } from '../../src/graph/builder.js';
import { bicubicMatrix, interpolateGrid } from '../../src/nn/interpolate.js';
import { assertAllclose } from '../helpers/allclose.js';

/** rows · grid · columnsᵀ for a square grid. */
function resize(grid: readonly number[], from: number, to: number): number[] {
  const m = bicubicMatrix(from, to);
  const out: number[] = [];
  for (let y = 0; y < to; y++) {
    for (let x = 0; x < to; x++) {
      let sum = 0;
      for (let i = 0; i < from; i++)
        for (let j = 0; j < from; j++) sum += m[y * from + i] * grid[i * from + j] * m[x * from + j];
      out.push(sum);
    }
  }
  return out;
}

test("bicubic: the example of PyTorch's Upsample page", () => {
  const expected = [
    0.6836, 1.0156, 1.5625, 1.8945, 1.3477, 1.6797, 2.2266, 2.5586, 2.4414, 2.7734, 3.3203, 3.6523, 3.1055, 3.4375,
    3.9844, 4.3164,
  ];
  assertAllclose(resize([1, 2, 3, 4], 2, 4), expected, { atol: 1e-4, rtol: 0 });
});

test('bicubic: every row sums to one, the same size is the identity', () => {
  for (const [from, to] of [
    [7, 16],
    [16, 7],
    [3, 3],
  ]) {
    const m = bicubicMatrix(from, to);
    for (let row = 0; row < to; row++) {
      const sum = m.subarray(row * from, (row + 1) * from).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(sum - 1) < 1e-6);
    }
  }
  assert.deepEqual(Array.from(bicubicMatrix(3, 3)), [1, 0, 0, 0, 1, 0, 0, 0, 1]);
});

test('a grid of the wanted size is left alone', () => {
  const builder = createGraphBuilder('g');
  const grid = builder.input('grid', 'float32', [4, 5, 6]);
  assert.equal(interpolateGrid(builder.root, grid, [4, 5]), grid);
  assert.deepEqual(interpolateGrid(builder.root, grid, [7, 3]).shape, [7, 3, 6]);
});
