import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRuntime } from '../../src/node/ort/runtime.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { family, fillParameters, trainingRows } from '../helpers/vary-tiny.js';

/** A runtime that knows how many sessions are open, and were at most. */
function counted(runtime: Runtime): { readonly runtime: Runtime; readonly open: { now: number; most: number } } {
  const open = { now: 0, most: 0 };
  return {
    open,
    runtime: {
      ...runtime,
      compile: async (graph, options) => {
        const session = await runtime.compile(graph, options);
        open.most = Math.max(open.most, ++open.now);
        return {
          ...session,
          dispose: async () => {
            open.now--;
            await session.dispose();
          },
        };
      },
    },
  };
}

const schedule = { kind: 'constant', warmupSteps: 0, totalSteps: 100 } as const;

/** Six steps on three shapes in turn. */
async function sixSteps(maxCompiled: number) {
  const { runtime, open } = counted(createRuntime({ threads: 1 }));
  const options = { learningRate: 1e-3, schedule, dropout: { hidden: 0.1, attention: 0 }, seed: 4, maxCompiled };
  const trainer = await createTrainer(runtime, readingTask(family), options);
  const others = open.now;
  fillParameters(trainer.arenas);
  const losses: number[] = [];
  for (let step = 0; step < 6; step++) {
    const { loss } = await trainer.step([trainingRows(0, 1 + (step % 3))]);
    losses.push(loss);
  }
  const parameters = trainer.arenas.parameters.slice();
  await trainer.dispose();
  assert.equal(open.now, 0);
  return { losses, parameters, most: open.most - others };
}

test('however few graphs stay compiled, a run has the same bits', async () => {
  const [all, few] = [await sixSteps(3), await sixSteps(1)];
  assert.deepEqual([all.most, few.most], [3, 1]);
  assert.deepEqual(few.losses, all.losses);
  assert.deepEqual(few.parameters, all.parameters);
});

test('a trainer that may keep no graph is refused', async () => {
  const options = { learningRate: 1e-3, schedule, maxCompiled: 0 };
  await assert.rejects(
    createTrainer(createRuntime({ threads: 1 }), readingTask(family), options),
    /maxCompiled: expected a whole number from 1, got 0/,
  );
});
