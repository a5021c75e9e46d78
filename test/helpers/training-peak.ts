/** A program: one training step of a deep decoder, then its peak memory in KiB. `node training-peak.js recompute|keep` */
import { optFamily } from '../../src/models/graphs.js';
import { opt125m } from '../../src/models/opt.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';

const decoder = {
  ...opt125m,
  vocabSize: 64,
  width: 64,
  embedWidth: 64,
  layers: 12,
  heads: 8,
  mlpWidth: 256,
  maxPositions: 640,
};
const trainer = await createTrainer(createRuntime({ threads: 2 }), readingTask(optFamily(decoder)), {
  learningRate: 1e-3,
  schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1 },
  activationCheckpointing: process.argv[2] === 'recompute',
});
const inputIds = Array.from({ length: 2 }, (_, row) => Array.from({ length: 640 }, (_, i) => (7 * i + row) % 64));
const { loss } = await trainer.step([{ inputIds, labels: inputIds }]);
process.stdout.write(JSON.stringify({ loss, peak: process.resourceUsage().maxRSS }));
