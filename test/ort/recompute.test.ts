import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { floats } from '../../src/core/tensor.js';
import { differentiate } from '../../src/grad/backward.js';
import { prepareForward } from '../../src/models/forward-inputs.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { recomputeBlocks } from '../../src/train/recompute.js';
import type { Task } from '../../src/train/task.js';
import { ctcTask, readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { tinyNano } from '../helpers/training.js';
import { family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

const runtime = createRuntime({ threads: 2 });

async function gradientsOf<B>(task: Task<B>, batch: B, activationCheckpointing: boolean, fill = fillParameters) {
  const trainer = await createTrainer(runtime, task, {
    learningRate: 1e-3,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1 },
    dropout: { hidden: 0.1, attention: 0.1 },
    activationCheckpointing,
  });
  fill(trainer.arenas);
  const loss = await trainer.accumulate([batch]);
  const gradients = trainer.arenas.gradients.slice();
  await trainer.dispose();
  return { loss, gradients };
}

function assertSame(kept: Float32Array, again: Float32Array): void {
  const largest = kept.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  assert.ok(largest > 1e-3);
  const worst = kept.reduce((most, x, i) => Math.max(most, Math.abs(x - again[i])), 0);
  assert.ok(worst <= 1e-6 * largest, `gradients differ by ${worst} of ${largest}`);
}

test('recomputed activations give the gradients of kept ones, dropout included', async () => {
  const batch = trainingRows(0, 3);
  const kept = await gradientsOf(readingTask(family), batch, false);
  const again = await gradientsOf(readingTask(family), batch, true);
  assert.equal(again.loss, kept.loss);
  assertSame(kept.gradients, again.gradients);
});

test('also where the loss is worked out outside the graph', async () => {
  const task = ctcTask({ ...tinyNano, tower: { ...tinyNano.tower, depth: 2 } });
  const pixels = Float32Array.from({ length: 3 * 32 * 384 }, (_, i) => Math.sin(i / 9));
  const batch = { pixelValues: floats([1, 3, 32, 384], pixels), targets: [[5, 9, 5, 40]] };
  const kept = await gradientsOf(task, batch, false, () => undefined);
  const again = await gradientsOf(task, batch, true, () => undefined);
  assert.equal(again.loss, kept.loss);
  assertSame(kept.gradients, again.gradients);
});

test("a block's backward takes only what enters and leaves blocks from the forward pass", () => {
  const { graph } = prepareForward(family, trainingRows(0, 2), { fixed: true, total: 1 });
  const forward = graph();
  const whole = recomputeBlocks(differentiate(forward), forward.nodes.length);
  const blockOf = (scope: string) => /^(model.*(?:layers|blocks)\.\d+)/.exec(scope)?.[1];
  const makers = new Map(forward.nodes.flatMap((node) => node.outputs.map(({ id }) => [id, node.scope] as const)));
  const crossing = new Set(
    forward.nodes.flatMap(({ scope, inputs }) =>
      inputs.map(({ id }) => id).filter((id) => blockOf(makers.get(id) ?? '') !== blockOf(scope)),
    ),
  );
  const taken = whole.nodes
    .filter(({ scope }) => blockOf(scope.replace(/^grad\./, '')) !== undefined && scope.startsWith('grad.'))
    .flatMap(({ inputs }) => inputs.map(({ id }) => id))
    .filter((id) => !crossing.has(id) && blockOf(makers.get(id) ?? '') !== undefined);
  assert.deepEqual(taken, []);
  assert.ok(whole.nodes.some(({ scope }) => scope.startsWith('recompute.model.vision_tower_2.blocks.0')));
});

test('and they need less memory', () => {
  const program = fileURLToPath(new URL('../helpers/training-peak.js', import.meta.url));
  const run = (how: string) =>
    JSON.parse(execFileSync(process.execPath, [program, how], { encoding: 'utf8' })) as { loss: number; peak: number };
  const [kept, again] = [run('keep'), run('recompute')];
  assert.ok(Math.abs(kept.loss - again.loss) < 1e-6, `${kept.loss} and ${again.loss}`);
  assert.ok(again.peak < 0.75 * kept.peak, `${again.peak >> 10} MiB, kept ${kept.peak >> 10} MiB`);
});
