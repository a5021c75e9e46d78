/**
 * One contrastive training step (two towers, loss, clipping, AdamW) beside PyTorch eager on the same shapes, interleaved:
 * node dist/bench/contrastive.js PYTHON [rounds] [threads]
 */
import { createRng } from '../src/core/rng.js';
import { floats } from '../src/core/tensor.js';
import { type ClipConfig, clipConfigJson, clipNano, clipVitB32 } from '../src/models/clip.js';
import { createRuntime } from '../src/node/ort/runtime.js';
import { type ContrastiveBatch, contrastiveTask } from '../src/train/contrastive.js';
import { createTrainer } from '../src/train/trainer.js';
import { compareSteps } from './step-reference.js';

interface Size {
  readonly name: string;
  readonly config: ClipConfig;
  readonly rows: number;
}

const smallTexts = { ...clipVitB32.text, layers: 2, vocabSize: 1024, endId: 1023 };
const sizes: readonly Size[] = [
  // Without its stem, which transformers' CLIP does not have.
  { name: 'clip-nano', config: { ...clipNano, vision: { ...clipNano.vision, stem: [] } }, rows: 64 },
  {
    name: 'two layers of CLIP ViT-B/32',
    config: { ...clipVitB32, text: smallTexts, vision: { ...clipVitB32.vision, layers: 2 } },
    rows: 16,
  },
];

const [python = 'python3', rounds = '5', threads = '2'] = process.argv.slice(2);
const length = 24;

function randomBatch({ config: { text, vision }, rows }: Size): ContrastiveBatch {
  const rng = createRng(5);
  const size = rows * 3 * vision.imageSize ** 2;
  const labels = Array.from({ length: rows }, (_, i) => i);
  const endId = text.endId ?? text.vocabSize - 1;
  const inputIds = labels.map(() => [...Array.from({ length: length - 1 }, () => rng.integer(0, endId - 1)), endId]);
  return {
    pixelValues: floats(
      [rows, 3, vision.imageSize, vision.imageSize],
      Float32Array.from({ length: size }, () => rng.normal()),
    ),
    imageLabels: labels,
    inputIds,
    textLabels: labels,
  };
}

for (const size of sizes) {
  const runtime = createRuntime({ threads: Number(threads) });
  const trainer = await createTrainer(runtime, contrastiveTask(size.config, runtime), {
    learningRate: 1e-4,
    weightDecay: 0.1,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1000 },
  });
  const shape = { config: clipConfigJson(size.config), rows: size.rows, length, threads: Number(threads) };
  const batch = randomBatch(size);
  const name = `${size.name}, ${size.rows} pairs`;
  const bench = {
    name,
    python,
    script: 'contrastive_reference.py',
    shape,
    rounds: Number(rounds),
    threads: Number(threads),
  };
  await compareSteps(bench, () => trainer.step([batch]));
  await trainer.dispose();
}
