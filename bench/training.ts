/**
 * One training step (forward, backward, clipping, AdamW) beside PyTorch eager on the same shapes, interleaved:
 * node dist/bench/training.js PYTHON [rounds]
 */
import { createRng } from '../src/core/rng.js';
import { optFamily } from '../src/models/graphs.js';
import { type OptConfig, opt125m } from '../src/models/opt.js';
import { varyNano } from '../src/models/vary.js';
import { createRuntime } from '../src/node/ort/runtime.js';
import { type ReadingBatch, readingTask } from '../src/train/tasks.js';
import { createTrainer } from '../src/train/trainer.js';
import { compareSteps } from './step-reference.js';

interface Size {
  readonly name: string;
  readonly config: OptConfig;
  readonly rows: number;
  readonly length: number;
}

const small = { vocabSize: 1024, maxPositions: 512 };
const sizes: readonly Size[] = [
  { name: 'vary-nano decoder', config: varyNano.decoder, rows: 8, length: 112 },
  { name: 'OPT-125M layers', config: { ...opt125m, ...small }, rows: 2, length: 256 },
];

const [python = 'python3', rounds = '5'] = process.argv.slice(2);
const threads = 2;

function randomBatch({ config, rows, length }: Size): ReadingBatch {
  const rng = createRng(5);
  const inputIds = Array.from({ length: rows }, () => Array.from({ length }, () => rng.integer(4, config.vocabSize)));
  return { inputIds, labels: inputIds };
}

for (const size of sizes) {
  const trainer = await createTrainer(createRuntime({ threads }), readingTask(optFamily(size.config)), {
    learningRate: 1e-4,
    weightDecay: 0.01,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1000 },
  });
  const { config, rows, length } = size;
  const batch = randomBatch(size);
  const shape = { ...config, rows, length, threads };
  const bench = { name: size.name, python, script: 'training_reference.py', shape, rounds: Number(rounds), threads };
  await compareSteps(bench, () => trainer.step([batch]));
  await trainer.dispose();
}
