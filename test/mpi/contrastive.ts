// Two ranks, each with a part of a contrastive batch, against one process with all of it. Started by scripts/test-mpi.js.
import assert from 'node:assert/strict';
import { InputError } from '../../src/core/errors.js';
import { joinMpi } from '../../src/node/mpi.js';
import type { ContrastiveBatch } from '../../src/train/contrastive.js';
import { contrastiveCase, contrastiveTrainer, gradientOf, worstGradient } from '../helpers/contrastive.js';

const peers = joinMpi();
assert.ok(peers, 'start this with mpirun');
assert.equal(peers.size, 2);
const { rank } = peers;

assert.deepEqual([...(await peers.gather(Float32Array.of(rank, 10 + rank)))], [0, 10, 1, 11]);
assert.deepEqual([...(await peers.gather(Float64Array.of(0.5 + rank)))], [0.5, 1.5]);

/** Images and texts [from, to) of a batch. */
function rowsFrom(batch: ContrastiveBatch, from: number, to: number): ContrastiveBatch {
  const { pixelValues, imageLabels, inputIds, attentionMask, textLabels } = batch;
  const size = pixelValues.data.length / imageLabels.length;
  return {
    pixelValues: {
      ...pixelValues,
      shape: [to - from, ...pixelValues.shape.slice(1)],
      data: pixelValues.data.subarray(from * size, to * size),
    },
    imageLabels: imageLabels.slice(from, to),
    inputIds: inputIds.slice(from, to),
    ...(attentionMask && { attentionMask: attentionMask.slice(from, to) }),
    textLabels: textLabels.slice(from, to),
  };
}

const fixture = await contrastiveCase('clip', 'modern');
// Rows 1 and 2, of different ranks, are of one label.
const batch = { ...fixture.batch, imageLabels: [0, 1, 1, 3], textLabels: [0, 1, 1, 3] };
const task = { chunkSize: 1, imageWeight: 0.5 };
const alone = await contrastiveTrainer(fixture, { task });
const shared = await contrastiveTrainer(fixture, { task, trainer: { peers } });
const own = rowsFrom(batch, 2 * rank, 2 * rank + 2);
const [lossAlone, lossShared] = [await alone.accumulate([batch]), await shared.accumulate([own])];
assert.ok(Math.abs(lossAlone - lossShared) < 1e-5, `loss ${lossShared}, of one process ${lossAlone}`);
const worst = worstGradient(shared.arenas, { layout: alone.arenas.layout, gradients: alone.arenas.gradients.slice() });
assert.ok(worst < 1e-5, `gradients differ by ${worst} of the largest value of their tensor`);
assert.ok(Math.abs(gradientOf(shared.arenas, 'logit_scale')[0]) > 1e-3, 'the temperature has a gradient');

await shared.step([own]);
const parameters = shared.arenas.parameters.slice();
const both = await peers.gather(parameters);
assert.deepEqual(both.subarray(0, parameters.length), both.subarray(parameters.length), 'all ranks moved alike');

await assert.rejects(shared.accumulate([rowsFrom(batch, 2 * rank, 3 + rank)]), InputError);
for (const trainer of [alone, shared]) await trainer.dispose();
if (rank === 0) {
  console.log(`ok: 2 ranks, contrastive loss ${lossShared.toFixed(6)}, gradients within ${worst.toExponential(1)}`);
}
peers.finish();
