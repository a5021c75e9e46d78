import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { type ContrastiveBatch, contrastiveTask } from '../../src/train/contrastive.js';
import { contrastiveCase, contrastiveTrainer } from '../helpers/contrastive.js';

const [N, M, E] = [5, 4, 16];
const imageLabels = [7, 7, 8, 9, 9];
const textLabels = [7, 8, 9, 9];
const imageWeight = 0.3;
const rng = createRng(4);
const unit = (rows: number) => {
  const data = Float32Array.from({ length: rows * E }, () => rng.normal());
  for (let r = 0; r < rows; r++) {
    const row = data.subarray(r * E, (r + 1) * E);
    const norm = Math.hypot(...row);
    row.forEach((x, i) => {
      row[i] = x / norm;
    });
  }
  return floats([rows, E], data);
};
const [images, texts] = [unit(N), unit(M)];

const dot = (a: Tensor<'float32'>, i: number, b: Tensor<'float32'>, j: number) =>
  Array.from({ length: E }, (_, e) => a.data[i * E + e] * b.data[j * E + e]).reduce((sum, x) => sum + x, 0);

/** Mean over the rows that have a partner of −mean over partners of log softmax, as one would write it down. */
function meanLoss(rows: readonly { scores: number[]; partner: boolean[] }[]): number {
  const losses = rows
    .filter(({ partner }) => partner.some(Boolean))
    .map(({ scores, partner }) => {
      const total = Math.log(scores.reduce((sum, x) => sum + Math.exp(x), 0));
      const own = scores.filter((_, i) => partner[i]).map((x) => total - x);
      return own.reduce((sum, x) => sum + x, 0) / own.length;
    });
  return losses.reduce((sum, x) => sum + x, 0) / losses.length;
}

function byHand(a: Tensor<'float32'>, b: Tensor<'float32'>, factor: number): number {
  const each = (n: number) => Array.from({ length: n }, (_, i) => i);
  const rows = each(N).map((i) => ({
    scores: each(M).map((j) => factor * dot(a, i, b, j)),
    partner: textLabels.map((label) => label === imageLabels[i]),
  }));
  const columns = each(M).map((j) => ({
    scores: each(N).map((i) => factor * dot(a, i, b, j)),
    partner: imageLabels.map((label) => label === textLabels[j]),
  }));
  const alike = each(N).map((i) => {
    const others = each(N).filter((k) => k !== i);
    return {
      scores: others.map((k) => factor * dot(a, i, a, k)),
      partner: others.map((k) => imageLabels[k] === imageLabels[i]),
    };
  });
  return 0.5 * (meanLoss(rows) + meanLoss(columns)) + imageWeight * meanLoss(alike);
}

test('several partners to a row, and pictures with each other: the loss and its gradients as written down', async () => {
  const fixture = await contrastiveCase('clip', 'modern');
  const runtime = createRuntime({ threads: 1 });
  const task = contrastiveTask(fixture.config, runtime, { imageWeight });
  const { arenas, dispose } = await contrastiveTrainer(fixture);
  const scale = arenas.parameters[arenas.layout.slots.get('logit_scale')?.offset ?? -1];
  const parts = [{ imageLabels, textLabels } as unknown as ContrastiveBatch];
  const joined = await task.join([images, texts], { parts, arenas, peers: undefined });
  const at = (factor: number, move?: { of: 'images' | 'texts'; index: number; by: number }) => {
    const moved = (tensor: Tensor<'float32'>, of: 'images' | 'texts') => {
      if (move?.of !== of) return tensor;
      const data = Float64Array.from(tensor.data);
      data[move.index] += move.by;
      return { ...tensor, data: data as unknown as Float32Array };
    };
    return byHand(moved(images, 'images'), moved(texts, 'texts'), factor);
  };
  const factor = Math.exp(scale);
  assert.ok(Math.abs(joined.loss - at(factor)) < 1e-5, `${joined.loss}, by hand ${at(factor)}`);
  const step = 1e-5;
  for (const [i, of] of (['images', 'texts'] as const).entries()) {
    const gradient = joined.gradients[i];
    for (let index = 0; index < gradient.data.length; index++) {
      const slope = (at(factor, { of, index, by: step }) - at(factor, { of, index, by: -step })) / (2 * step);
      assert.ok(
        Math.abs(slope - Number(gradient.data[index])) < 1e-4,
        `${of}[${index}]: ${gradient.data[index]}, ${slope}`,
      );
    }
  }
  const slope = (at(Math.exp(scale + step)) - at(Math.exp(scale - step))) / (2 * step);
  const got = Number(joined.ownGradients['logit_scale'].data[0]);
  assert.ok(Math.abs(slope - got) < 1e-4, `logit_scale: ${got}, ${slope}`);
  await task.dispose();
  await dispose();
});
