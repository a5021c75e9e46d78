import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { createGraphBuilder, plainLowering } from '../../src/graph/builder.js';
import { samStages, samVitB } from '../../src/models/sam.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { type ReadingBatch, readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runGraph } from '../helpers/run-graph.js';
import { family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

const random = (seed: number, shape: readonly number[]): Tensor<'float32'> => {
  const rng = createRng(seed);
  return floats(
    shape,
    Array.from({ length: shape.reduce((a, b) => a * b) }, () => 0.5 * rng.normal()),
  );
};

const gelu = (x: number) => {
  // erf by its series: near enough for values this small.
  let [term, sum] = [x / Math.SQRT2, x / Math.SQRT2];
  for (let n = 1; n < 40; n++) {
    term *= -((x * x) / 2) / n;
    sum += term / (2 * n + 1);
  }
  return 0.5 * x * (1 + (2 / Math.sqrt(Math.PI)) * sum);
};

/** A 3×3 convolution of stride 2 with padding 1, bias and GELU: planes [C][h][w]. */
function convolve(planes: number[][][], kernel: Tensor<'float32'>, bias: Tensor<'float32'>): number[][][] {
  const [outs, ins] = kernel.shape;
  const [h, w] = [planes[0].length, planes[0][0].length];
  return Array.from({ length: outs }, (_, o) =>
    Array.from({ length: h / 2 }, (_, y) =>
      Array.from({ length: w / 2 }, (_, x) => {
        let sum = bias.data[o];
        for (let c = 0; c < ins; c++)
          for (let i = 0; i < 9; i++) {
            const value = planes[c][2 * y + Math.floor(i / 3) - 1]?.[2 * x + (i % 3) - 1] ?? 0;
            sum += value * kernel.data[(o * ins + c) * 9 + i];
          }
        return gelu(sum);
      }),
    ),
  );
}

test('a stem is convolutions of stride 2 with GELU before the patches, which keep their size in pixels', async () => {
  const config = {
    ...samVitB,
    imageSize: [8, 16],
    patchSize: [8, 4],
    stem: [2, 3],
    width: 5,
    absolutePositions: false,
  } as const;
  const builder = createGraphBuilder('stem', plainLowering);
  const pixels = builder.input('pixels', 'float32', [1, 3, 8, 16]);
  builder.output('patches', samStages(config)[0](builder.root, pixels));
  const names = ['stem.0.weight', 'stem.0.bias', 'stem.1.weight', 'stem.1.bias', 'proj.weight', 'proj.bias'];
  const shapes = [[2, 3, 3, 3], [2], [3, 2, 3, 3], [3], [5, 3, 2, 1], [5]];
  const weights = new Map(names.map((name, i) => [`patch_embed.${name}`, random(i + 1, shapes[i])]));
  const image = random(99, [1, 3, 8, 16]);
  const { patches } = await runGraph(builder.finish(), weights, { pixels: image });
  const [k0, b0, k1, b1, kernel, bias] = [...weights.values()];
  const planes = [0, 1, 2].map((c) =>
    Array.from({ length: 8 }, (_, y) => Array.from(image.data.subarray((c * 8 + y) * 16, (c * 8 + y + 1) * 16))),
  );
  const map = convolve(convolve(planes, k0, b0), k1, b1); // [3][2][4]
  const wanted = Array.from({ length: 4 }, (_, x) =>
    Array.from({ length: 5 }, (_, o) => {
      let sum = bias.data[o];
      for (let c = 0; c < 3; c++) for (let y = 0; y < 2; y++) sum += map[c][y][x] * kernel.data[(o * 3 + c) * 2 + y];
      return sum;
    }),
  ).flat();
  assert.deepEqual(patches.shape, [1, 1, 4, 5]);
  assertAllclose(patches.data as Float32Array, Float32Array.from(wanted), { atol: 1e-5, rtol: 1e-5 }, 'patches');
});

test('guided attention adds −0.3 log of what one head gives to the places, and steps make that less', async () => {
  const batch = trainingRows(0, 1);
  const places = batch.labels.map((row) => row.map((label) => (label === -100 ? null : 0.5)));
  const make = () =>
    createTrainer(createRuntime({ threads: 1 }), readingTask(family), {
      learningRate: 1e-3,
      schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 100 },
    });
  const trainer = await make();
  fillParameters(trainer.arenas);
  const lossOf = (given: ReadingBatch) => trainer.accumulate([given]);
  const first = (await lossOf({ ...batch, places })) - (await lossOf(batch));
  assert.ok(first > 0, `guidance ${first}`);
  for (let step = 0; step < 30; step++) await trainer.step([{ ...batch, places }]);
  const last = (await lossOf({ ...batch, places })) - (await lossOf(batch));
  assert.ok(last < 0.5 * first, `guidance from ${first} to ${last}`);
  await trainer.dispose();
});
