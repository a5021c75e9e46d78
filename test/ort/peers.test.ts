import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRuntime } from '../../src/node/ort/runtime.js';
import type { Peers } from '../../src/train/peers.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

test('a process without a part gives zeros to the sum, not the gradients of the step before', async () => {
  const given: Float32Array[] = [];
  const peers: Peers = {
    rank: 0,
    size: 2,
    sum: (data) => {
      // The other process has labels, and no gradients.
      if (data instanceof Float32Array) given.push(data.slice());
      else if (data.length === 2) data[0] += 1;
    },
    gather: (data) => data,
  };
  const trainer = await createTrainer(createRuntime({ threads: 2 }), readingTask(family), {
    learningRate: 1e-3,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1 },
    peers,
  });
  fillParameters(trainer.arenas);
  await trainer.accumulate([trainingRows(0, 3)]);
  await trainer.accumulate([]);
  await trainer.dispose();
  const [first, second] = given;
  assert.ok(first.some((value) => value !== 0));
  assert.ok(second.every((value) => value === 0));
});

test('all processes take the gradient norm of the first', async () => {
  const norms: number[] = [];
  for (const rank of [0, 1]) {
    const peers: Peers = { rank, size: 2, sum: () => undefined, gather: (data) => data };
    const trainer = await createTrainer(createRuntime({ threads: 2 }), readingTask(family), {
      learningRate: 0,
      schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1 },
      peers,
    });
    fillParameters(trainer.arenas);
    norms.push((await trainer.step([trainingRows(0, 3)])).gradNorm);
    await trainer.dispose();
  }
  assert.ok(norms[0] > 0);
  // Nothing came from the first.
  assert.equal(norms[1], 0);
});
