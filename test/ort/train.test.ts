import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { JsonObject } from '../../src/core/json.js';
import { openWeights } from '../../src/node/checkpoint-dir.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { loadModel } from '../../src/node/load-model.js';
import { parseRun } from '../../src/node/training/run-file.js';
import { newestRun } from '../../src/node/training/save.js';
import { readFloat32 } from '../../src/weights/checkpoint.js';
import { losses, startIn, tensorsAt, tinyNano } from '../helpers/training.js';

const base = mkdtempSync(join(tmpdir(), 'varyclip-train-'));
after(() => rmSync(base, { recursive: true, force: true }));

await writeRandomCheckpoint(join(base, 'start'), tinyNano, 3);

const common = {
  start: 'start',
  steps: 4,
  batchSize: 3,
  warmupSteps: 1,
  stages: [{ fromBatch: 0, maxWords: 2, maxChars: 12 }],
};
const parse = (json: JsonObject) => parseRun({ ...common, ...json }, { where: 'run.json', base });
const start = (json: JsonObject, resume?: string) => startIn(base, { ...common, ...json }, resume);

for (const task of ['ctc', 'read']) {
  test(`${task}: a run that stopped goes on to the same bits as one that did not`, async () => {
    const whole = await start({ task, out: `${task}-whole` });
    const found = await losses(whole, 4);
    const wanted = tensorsAt(await whole.save());
    await whole.dispose();

    const first = await start({ task, out: `${task}-parts` });
    const before = await losses(first, 2);
    const saved = await first.save();
    await first.dispose();
    const second = await start({ task, out: `${task}-parts` }, saved);
    assert.equal(second.stepsDone, 2);
    assert.deepEqual([...before, ...(await losses(second, 2))], found);
    assert.equal(tensorsAt(await second.save()), wanted);
    await second.dispose();
  });
}

test('a saved checkpoint is a model that loads, and the loss falls', async () => {
  const work = await start({ task: 'read', out: 'falls', steps: 30, learningRate: 5e-3, schedule: 'constant' });
  const found = await losses(work, 30);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  assert.ok(mean(found.slice(-5)) < mean(found.slice(0, 5)) - 0.5, `${found[0]} to ${found.at(-1)}`);
  const dir = await work.save();
  const report = await work.evaluate();
  assert.ok(report && report.figures['cer'] > 0);
  await work.dispose();
  const model = await loadModel(dir, { threads: 2 });
  assert.equal(model.kind, 'vary');
  await model.dispose();
});

test('the head that drafts is trained by CTC and kept by other runs', async () => {
  const headIn = async (dir: string) => {
    const checkpoint = await openWeights(dir);
    const { data } = await readFloat32(checkpoint, 'ctc_head.weight');
    checkpoint.dispose();
    return Float32Array.from(data);
  };
  const before = await headIn(join(base, 'start'));
  const kept = await start({ task: 'read', out: 'head-kept' });
  await losses(kept, 2);
  assert.deepEqual(await headIn(await kept.save()), before);
  await kept.dispose();
  const trained = await start({ task: 'ctc', out: 'head-trained' });
  await losses(trained, 2);
  const dir = await trained.save();
  await trained.dispose();
  assert.notDeepEqual(await headIn(dir), before);
  await (await loadModel(dir, { threads: 2 })).dispose();
});

test('runs of before go on: the settings of a run without newer fields stay as they were', async () => {
  const work = await start({ task: 'ctc', out: 'settings' });
  const { settings } = JSON.parse(readFileSync(join(await work.save(), 'trainer.json'), 'utf8')) as {
    settings: unknown;
  };
  await work.dispose();
  assert.equal(
    JSON.stringify(settings),
    '{"task":"ctc","seed":1,"steps":4,"batchSize":3,"stages":[{"fromBatch":0,"maxWords":2,"maxChars":12}],' +
      '"optimizer":{"learningRate":0.001,"schedule":{"kind":"cosine","warmupSteps":1,"totalSteps":4},"weightDecay":0.01,' +
      '"maxGradNorm":1,"adamW":{"beta1":0.9,"beta2":0.98,"epsilon":1e-8}},"processes":1}',
  );
});

test('a damaged checkpoint is named and passed over for the one before it; other settings are refused', async () => {
  const work = await start({ task: 'ctc', out: 'damaged' });
  await losses(work, 1);
  const good = await work.save();
  await losses(work, 1);
  const bad = await work.save();
  await work.dispose();
  appendFileSync(join(bad, 'model.safetensors'), 'x');
  const { path, damaged } = newestRun(join(base, 'damaged'));
  assert.equal(path, good);
  assert.match(damaged[0], /checkpoint-2: model\.safetensors does not fit its checksum/);
  await assert.rejects(start({ task: 'ctc', out: 'damaged', learningRate: 0.5 }, good), InputError);
});

test('only the last two checkpoints stay', async () => {
  const work = await start({ task: 'ctc', out: 'few' });
  for (let i = 0; i < 3; i++) {
    await losses(work, 1);
    await work.save();
  }
  await work.dispose();
  assert.deepEqual(readdirSync(join(base, 'few')).sort(), ['checkpoint-2', 'checkpoint-3']);
});

for (const [what, json] of Object.entries({
  'an unknown field': { task: 'ctc', out: 'x', lerningRate: 1 },
  'an unknown task': { task: 'dance', out: 'x' },
  'no steps': { task: 'ctc', out: 'x', steps: 0 },
  'an unknown schedule': { task: 'ctc', out: 'x', schedule: 'zigzag' },
})) {
  test(`a run file with ${what} is refused`, () => {
    assert.throws(() => parse(json), InputError);
    assert.equal(existsSync(join(base, 'x')), false);
  });
}
