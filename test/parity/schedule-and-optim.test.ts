import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../src/core/tensor.js';
import { createGraphBuilder, type Graph } from '../../src/graph/builder.js';
import { sub } from '../../src/graph/functions.js';
import { activate } from '../../src/nn/activation.js';
import { linear } from '../../src/nn/linear.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { parameterSpecs, viewSlot } from '../../src/train/arena.js';
import { learningRateFactor, type ScheduleKind } from '../../src/train/schedule.js';
import type { Task } from '../../src/train/task.js';
import { createTrainer } from '../../src/train/trainer.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixtureTensors, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('schedule-and-optim/expected.safetensors');
const rates = fixtureJson<Record<string, readonly number[]>>('schedule-and-optim/schedule.json');
const { config } = fixtureJson<{ config: { total_steps: number; warmup_steps: number; lr: number } }>(
  'schedule-and-optim/case.json',
);

for (const kind of ['cosine', 'linear', 'constant', 'constant_with_warmup'] as ScheduleKind[]) {
  test(`learning rates: ${kind}`, () => {
    const schedule = { kind, warmupSteps: config.warmup_steps, totalSteps: config.total_steps };
    const got = rates[kind].map((_, step) => config.lr * learningRateFactor(schedule, step));
    got.forEach((rate, step) => {
      assert.ok(Math.abs(rate - rates[kind][step]) <= 1e-12, `step ${step}: ${rate}, expected ${rates[kind][step]}`);
    });
  });
}

/** Sequential(Linear(6, 8), GELU, Linear(8, 3)) with mean squared error. */
function regression(): Graph {
  const builder = createGraphBuilder('regression');
  const s = builder.root;
  const x = builder.input('x', 'float32', [16, 6]);
  const y = builder.input('y', 'float32', [16, 3]);
  const out = linear(s.at('2'), activate(s, linear(s.at('0'), x, 8), 'gelu'), 3);
  const error = sub(s, out, y);
  builder.output('loss', s.op('ReduceMean', [s.op('Mul', [error, error], {})], { axes: [0, 1], keepdims: 0 }));
  return builder.finish();
}

test('twelve steps of a small network: clipping, cosine with warm-up, decay on weights only', async () => {
  const feeds: Record<string, Tensor> = { x: tensorOf(expected, 'train.X'), y: tensorOf(expected, 'train.Y') };
  const task: Task<typeof feeds> = {
    parameters: parameterSpecs(regression()),
    count: () => 1,
    prepare: (batch) => ({ key: 'all', graph: regression, feeds: batch }),
  };
  const trainer = await createTrainer(createRuntime({ threads: 2 }), task, {
    learningRate: 1e-2,
    weightDecay: 0.1,
    groups: [{ match: /bias$/, weightDecay: 0 }],
    adamW: { beta2: 0.98, epsilon: 1e-6 },
    maxGradNorm: 0.5,
    schedule: { kind: 'cosine', warmupSteps: 3, totalSteps: 12 },
  });
  const { arenas } = trainer;
  const slots = [...arenas.layout.slots.values()];
  for (const slot of slots)
    viewSlot(arenas.parameters, slot).data.set(tensorOf(expected, `train.init.${slot.name}`).data as Float32Array);
  for (let step = 0; step < 12; step++) await trainer.step([feeds]);
  const compared = { final: arenas.parameters, exp_avg: arenas.firstMoments, exp_avg_sq: arenas.secondMoments };
  for (const slot of slots) {
    for (const [what, arena] of Object.entries(compared)) {
      const name = `train.${what}.${slot.name}`;
      if (!expected.has(name)) continue;
      assertAllclose(
        viewSlot(arena, slot).data,
        tensorOf(expected, name).data as Float32Array,
        { atol: 2e-6, rtol: 1e-5 },
        name,
      );
    }
  }
  assert.ok(expected.has('train.exp_avg_sq.0.weight') && expected.has('train.final.2.bias'));
  await trainer.dispose();
});
