import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { greedyIds } from '../../src/models/draft.js';
import { alignedLoss, ctcLoss } from '../../src/train/ctc.js';

const [T, V, blank] = [5, 4, 1];
const random = (seed: number, B: number): Tensor<'float32'> => {
  const rng = createRng(seed);
  return floats(
    [B, T, V],
    Array.from({ length: B * T * V }, () => 1.5 * rng.normal()),
  );
};

/** Merges repeats and drops blanks. */
const collapse = (path: readonly number[]) => path.filter((id, t) => id !== blank && id !== path[t - 1]);

/** −log of the sum over every path that collapses to the labels. */
function bruteForce(data: Float32Array, labels: readonly number[]): number {
  let total = 0;
  for (let code = 0; code < V ** T; code++) {
    const path = Array.from({ length: T }, (_, t) => Math.floor(code / V ** t) % V);
    if (String(collapse(path)) !== String(labels)) continue;
    let p = 1;
    path.forEach((id, t) => {
      const row = [...data.subarray(t * V, (t + 1) * V)].map(Math.exp);
      p *= row[id] / row.reduce((a, b) => a + b, 0);
    });
    total += p;
  }
  return -Math.log(total);
}

for (const labels of [[], [0], [2, 2], [0, 3, 2], [3, 3, 0]]) {
  test(`loss of [${labels}] is the sum over all paths`, () => {
    const logits = random(labels.length, 1);
    assert.ok(Math.abs(ctcLoss(logits, [labels], { blank }).loss - bruteForce(logits.data, labels)) < 1e-6);
  });
}

test('gradient against finite differences, weighted, over a batch', () => {
  const logits = random(9, 2);
  const targets = [[2, 2], [0]];
  const lossAt = (data: Float32Array) => ctcLoss({ ...logits, data }, targets, { blank, weight: 0.3 }).loss;
  const { gradient } = ctcLoss(logits, targets, { blank, weight: 0.3 });
  logits.data.forEach((_, i) => {
    const moved = (by: number) => logits.data.map((x, j) => (i === j ? x + by : x));
    const slope = (lossAt(moved(1e-2)) - lossAt(moved(-1e-2))) / 2e-2;
    assert.ok(Math.abs(slope - gradient.data[i]) < 1e-4, `${i}: ${gradient.data[i]}, differences say ${slope}`);
  });
});

test('targets that do not fit count nothing and are named', () => {
  const { loss, gradient, impossible } = ctcLoss(random(3, 2), [[2, 2, 2, 2], [0]], { blank });
  assert.deepEqual(impossible, [0]);
  assert.ok(Number.isFinite(loss));
  assert.ok(gradient.data.subarray(0, T * V).every((x) => x === 0));
});

test('greedy reading merges repeats and drops blanks', () => {
  const path = [2, 2, 1, 2, 0];
  const data = new Float32Array(T * V);
  path.forEach((id, t) => {
    data[t * V + id] = 1;
  });
  assert.deepEqual(greedyIds({ dtype: 'float32', shape: [1, T, V], data }, blank), [[2, 2, 0]]);
});

test('the loss of a known alignment is cross-entropy of its columns, blanks between; its gradient against differences', () => {
  const logits = random(11, 2);
  // The second row's two letters stand in one column: the later one moves on; equal ones get a blank between them.
  const targets = [
    [0, 3],
    [2, 2],
  ];
  const options = {
    blank,
    weight: 0.5,
    places: [
      [0.05, 0.7],
      [0.3, 0.35],
    ],
  };
  const paths = [
    [0, blank, blank, 3, blank],
    [blank, 2, blank, 2, blank],
  ];
  let wanted = 0;
  paths.forEach((path, b) => {
    path.forEach((id, t) => {
      const column = [...logits.data.subarray((b * T + t) * V, (b * T + t + 1) * V)];
      wanted += 0.5 * (Math.log(column.reduce((sum, x) => sum + Math.exp(x), 0)) - column[id]);
    });
  });
  const { loss, gradient } = alignedLoss(logits, targets, options);
  assert.ok(Math.abs(loss - wanted) < 1e-5, `${loss}, expected ${wanted}`);
  logits.data.forEach((_, i) => {
    const at = (by: number) =>
      alignedLoss({ ...logits, data: logits.data.map((x, j) => (i === j ? x + by : x)) }, targets, options).loss;
    const slope = (at(1e-2) - at(-1e-2)) / 2e-2;
    assert.ok(Math.abs(slope - gradient.data[i]) < 1e-4, `${i}: ${gradient.data[i]}, differences say ${slope}`);
  });
  const late = alignedLoss(random(3, 1), [[2, 2]], { blank, places: [[0.9, 0.95]] });
  assert.deepEqual([late.impossible, late.loss], [[0], 0]);
});
