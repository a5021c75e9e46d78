import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { asObject } from '../../src/core/json.js';
import { createVaryModel } from '../../src/infer/model.js';
import { varyFamily } from '../../src/models/graphs.js';
import { type VaryConfig, varyNano, withoutDraft } from '../../src/models/vary.js';
import { readConfig, readTokenizer } from '../../src/node/checkpoint-dir.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';
import { linePixels, readingBatch } from '../../src/node/training/line-batch.js';
import { imageTokensOf } from '../../src/text/image-tokens.js';
import { readPrompt } from '../../src/text/prompt.js';
import { arenaLoader } from '../../src/train/arena.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';

const config: VaryConfig = {
  ...withoutDraft(varyNano),
  decoder: { ...varyNano.decoder, width: 96, embedWidth: 96, layers: 2, heads: 4, mlpWidth: 256, maxPositions: 112 },
  tower: {
    ...varyNano.tower,
    imageSize: [32, 256],
    width: 64,
    depth: 1,
    heads: 2,
    neckChannels: 32,
    netChannels: [48, 64],
  },
  imageTokens: { ...varyNano.imageTokens, count: 32 },
};

test('a fresh small model memorises ten pictures: ten different, exact readings', async () => {
  const dir = join(mkdtempSync(join(tmpdir(), 'varyclip-overfit-')), 'model');
  after(() => rmSync(join(dir, '..'), { recursive: true, force: true }));
  await writeRandomCheckpoint(dir, config, 1);
  const tokenizer = readTokenizer(dir);
  assert.ok(tokenizer);
  const imageTokens = imageTokensOf(tokenizer, asObject(readConfig(dir), dir));
  const renderer = await createTextRenderer();
  const lines = Array.from({ length: 10 }, (_, index) =>
    renderer.renderLine({ seed: 4, index, minWords: 2, maxWords: 4, maxChars: 20, maxAspect: 8, height: 32 }),
  );
  assert.equal(new Set(lines.map(({ text }) => text)).size, 10);
  const runtime = createRuntime({ threads: 2 });
  const family = varyFamily(config);
  const trainer = await createTrainer(runtime, readingTask(family), {
    learningRate: 4e-3,
    schedule: { kind: 'cosine', warmupSteps: 20, totalSteps: 260 },
    adamW: { beta2: 0.98 },
    seed: 2,
  });
  after(() => trainer.dispose());
  const batch = readingBatch(lines, config, { tokenizer, imageTokens });
  let loss = Number.NaN;
  for (let step = 0; step < 260; step++) ({ loss } = await trainer.step([batch]));
  const model = createVaryModel({
    family,
    runtime,
    precision: 'float32',
    tokenizer,
    imageTokens,
    close: () => undefined,
    weights: arenaLoader(trainer.arenas),
  });
  after(() => model.dispose());
  const prompt = readPrompt(tokenizer, imageTokens);
  const rows = await model.generateRows(
    { inputIds: lines.map(() => prompt), pixelValues: linePixels(lines, config) },
    { maxNewTokens: 40 },
  );
  const read = rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
  assert.deepEqual(
    read,
    lines.map(({ text }) => text),
    `loss ${loss}`,
  );
});
