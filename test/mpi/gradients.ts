/** Run under mpirun with two ranks: sums, and gradients of shared rows against those of one process with all rows. */
import assert from 'node:assert/strict';
import { joinMpi } from '../../src/node/mpi.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { viewSlot } from '../../src/train/arena.js';
import { type ReadingBatch, readingTask } from '../../src/train/tasks.js';
import { createTrainer, type Peers } from '../../src/train/trainer.js';
import { family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

const peers = joinMpi();
assert.ok(peers, 'start this with mpirun');
assert.equal(peers.size, 2);

const floatsToSum = Float32Array.of(1, peers.rank);
peers.sum(floatsToSum);
assert.deepEqual([...floatsToSum], [2, 1]);
const doubles = Float64Array.of(0.5 + peers.rank);
peers.sum(doubles);
assert.deepEqual([...doubles], [2]);

async function gradientsOf(
  batch: ReadingBatch,
  group?: Peers,
): Promise<{ loss: number; gradients: Float32Array; norms: Float32Array }> {
  const trainer = await createTrainer(createRuntime({ threads: 1 }), readingTask(family), {
    learningRate: 1e-3,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 2 },
    ...(group && { peers: group }),
  });
  const { arenas } = trainer;
  fillParameters(arenas);
  const loss = await trainer.accumulate([batch]);
  const gradients = arenas.gradients.slice();
  // Per element the largest value of its tensor.
  const norms = new Float32Array(gradients.length);
  for (const slot of arenas.layout.slots.values()) {
    const largest = viewSlot(gradients, slot).data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    norms.fill(largest, slot.offset, slot.offset + slot.length);
  }
  const { step } = await trainer.step([batch]);
  assert.equal(step, 1);
  const parameters = group && arenas.parameters.slice();
  if (group && parameters) {
    // All ranks moved alike: the sum is twice each one's own.
    const twice = parameters.map((x) => 2 * x);
    group.sum(parameters);
    assert.deepEqual(parameters, twice);
  }
  await trainer.dispose();
  return { loss, gradients, norms };
}

const shared = await gradientsOf(trainingRows(peers.rank, peers.rank + 1), peers);
const alone = await gradientsOf(trainingRows(0, 2));
assert.ok(Math.abs(shared.loss - alone.loss) < 1e-5, `loss ${shared.loss}, of one process ${alone.loss}`);
let worst = 0;
alone.gradients.forEach((x, i) => {
  // Zero up to rounding in both: nothing to compare with.
  if (alone.norms[i] < 1e-6) return;
  worst = Math.max(worst, Math.abs(x - shared.gradients[i]) / alone.norms[i]);
});
assert.ok(worst < 1e-5, `gradients differ by ${worst} of the largest value of their tensor`);
if (peers.rank === 0)
  console.log(`ok: 2 ranks, loss ${shared.loss.toFixed(6)}, gradients within ${worst.toExponential(1)}`);
peers.finish();
