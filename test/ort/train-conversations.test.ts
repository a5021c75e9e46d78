import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { JsonObject } from '../../src/core/json.js';
import { loadModel } from '../../src/node/load-model.js';
import { temporaryFolder } from '../helpers/clip-checkpoints.js';
import { checkpoint, conversationFolder } from '../helpers/conversations.js';
import { losses, startIn, tensorsAt, writeData } from '../helpers/training.js';

const text = {
  conversations: [
    { from: 'human', value: 'Say hello.' },
    { from: 'gpt', value: 'hello there' },
  ],
};
const { folder, file } = await conversationFolder(5, [text]);
const items = JSON.parse(readFileSync(file, 'utf8')) as unknown[];
const base = temporaryFolder();
const common = {
  task: 'conversations',
  start: resolve(checkpoint),
  data: [{ file }],
  steps: 4,
  batchSize: 2,
  warmupSteps: 1,
  learningRate: 3e-3,
  workers: 0,
};
const start = (json: JsonObject, resume?: string) => startIn(base, { ...common, ...json }, resume);

const variants = {
  'augmented, with text alone and dropout': {
    augment: true,
    dropout: 0.1,
    attentionDropout: 0.1,
    imageAspectRatio: 'pad',
  },
  'two batches a step, in threads': { accumulate: 2, workers: 2, batchSize: 1 },
  'recomputed activations, part of it frozen': {
    activationCheckpointing: true,
    groups: [
      { match: 'vision_tower', frozen: true },
      { match: '\\.bias$|layer_norm', weightDecay: 0, learningRateFactor: 2 },
    ],
  },
};
for (const [name, json] of Object.entries(variants)) {
  test(`conversations, ${name}: a run that stopped goes on to the same bits`, async () => {
    const out = Object.keys(json)[0];
    const whole = await start({ ...json, out: `${out}-whole` });
    const wanted = await losses(whole, 4);
    const bits = tensorsAt(await whole.save());
    await whole.dispose();
    const first = await start({ ...json, out: `${out}-parts` });
    const before = await losses(first, 2);
    const saved = await first.save();
    await first.dispose();
    const second = await start({ ...json, out: `${out}-parts` }, saved);
    assert.deepEqual([...before, ...(await losses(second, 2))], wanted);
    assert.equal(tensorsAt(await second.save()), bits);
    await second.dispose();
  });
}

test('three epochs, and one epoch of the list three times over, end in the same bits', async () => {
  const thrice = writeData(folder, 'thrice.json', [...items, ...items, ...items]);
  const bits: string[] = [];
  for (const [out, json] of [
    ['epochs', { epochs: 3 }],
    ['repeated', { epochs: 1, data: [{ file: thrice }] }],
  ] as const) {
    const { steps: _, ...rest } = common;
    const work = await startIn(base, { ...rest, ...json, out, batchSize: 3 });
    assert.equal(work.steps, 6);
    await losses(work, 6);
    bits.push(tensorsAt(await work.save()));
    await work.dispose();
  }
  assert.equal(bits[0], bits[1]);
});

test('several sets come by weight, and broken samples are left out, named, and too many are an error', async () => {
  const other = await conversationFolder(2, [{ ...text, image: 'gone.png' }]);
  const data = [
    { file, weight: 0.5 },
    { file: other.file, images: other.folder },
  ];
  const work = await start({ data, maxBad: 1, out: 'sets', steps: 6, batchSize: 1 });
  const bad: string[] = [];
  let skipped = 0;
  for (let i = 0; i < 6; i++) {
    const result = await work.step();
    bad.push(...result.bad);
    if (result.skipped) skipped++;
  }
  await work.dispose();
  assert.equal(skipped, 1);
  assert.equal(bad.length, 1);
  assert.match(bad[0], /data\.json:4: .*gone\.png/);
  const strict = await start({ data, out: 'strict', steps: 6, batchSize: 6 });
  await assert.rejects(strict.step(), /1 broken samples, at most 0 are allowed/);
  await strict.dispose();
});

test('a saved checkpoint records its template, reads with it, and is not trained on with another', async () => {
  const out = 'template';
  const work = await start({
    out,
    turnSignal: '### ',
    steps: 60,
    schedule: 'constant',
    data: [{ file: writeData(folder, 'one.json', items.slice(0, 1)) }],
    batchSize: 1,
    evaluation: { data: [{ file }], samples: 3, readings: 2, maxNewTokens: 8 },
  });
  const found = await losses(work, 60);
  assert.ok((found.at(-1) ?? 9) < 0.05, `loss ${found.at(-1)}`);
  const report = await work.evaluate();
  assert.ok(report && report.figures['loss'] > 0 && report.figures['cer'] >= 0);
  assert.deepEqual(report.samples[0], { name: `${file}:2`, truth: 'page 0', read: 'page 0' });
  const dir = await work.save();
  await work.dispose();
  const config = JSON.parse(readFileSync(join(dir, 'config.json'), 'utf8')) as JsonObject;
  assert.equal(config['vary_template'], 'conversation');
  assert.equal(config['vary_turn_signal'], '### ');
  const model = await loadModel(dir, { threads: 2 });
  assert.equal(model.kind, 'vary');
  if (model.kind === 'vary') {
    const read = await model.read(join(folder, '0.png'), { prompt: 'Read.', maxNewTokens: 8, readBlank: true });
    assert.equal(read.text, ' page 0\n');
    const plainly = await model.read(join(folder, '0.png'), { template: 'plain', maxNewTokens: 8, readBlank: true });
    assert.notEqual(plainly.usage.promptTokens, read.usage.promptTokens);
  }
  await model.dispose();
  await assert.rejects(
    start({ start: dir, out: 'other' }),
    /was trained with template conversation with turnSignal "### "/,
  );
  await assert.rejects(start({ start: dir, out: 'other', template: 'plain' }), InputError);
  const again = await start({ start: dir, out: 'other', turnSignal: '### ' });
  await again.dispose();
});

test('the plain template learns what the released checkpoints are asked: the answer follows </img>', async () => {
  const work = await start({
    out: 'plain',
    template: 'plain',
    steps: 60,
    schedule: 'constant',
    data: [{ file: writeData(folder, 'one.json', items.slice(0, 1)) }],
    batchSize: 1,
  });
  await losses(work, 60);
  const dir = await work.save();
  await work.dispose();
  const model = await loadModel(dir, { threads: 2 });
  if (model.kind === 'vary')
    assert.match((await model.read(join(folder, '0.png'), { maxNewTokens: 8, readBlank: true })).text, /^page 0/);
  await model.dispose();
});

test('other data, another tokenizer, and a damaged checkpoint are refused when a run goes on', async () => {
  const changing = writeData(folder, 'changing.json', items);
  const own = join(base, 'own-start');
  cpSync(resolve(checkpoint), own, { recursive: true });
  const json = { out: 'refused', start: own, data: [{ file: changing }] };
  const work = await start(json);
  await work.step();
  const saved = await work.save();
  await work.dispose();
  await assert.rejects(start({ ...json, seed: 8 }, saved), /other settings \(seed was 1, is 8\)/);
  writeFileSync(join(own, 'merges.txt'), `${readFileSync(join(own, 'merges.txt'), 'utf8')}\n`);
  await assert.rejects(start(json, saved), /its merges\.txt is not that of/);
  cpSync(join(resolve(checkpoint), 'merges.txt'), join(own, 'merges.txt'));
  writeData(folder, 'changing.json', items.slice(1));
  await assert.rejects(start(json, saved), /other settings \(data was/);
  writeFileSync(join(saved, 'trainer.json'), '{}');
  await assert.rejects(start(json, saved), /trainer\.json does not fit its checksum/);
});

test('what a start or its data lack is known before the first step', async () => {
  await assert.rejects(start({ out: 'x', start: 'nowhere' }), /no such checkpoint directory/);
  await assert.rejects(start({ out: 'x', data: [{ file: 'nowhere.json' }] }), /cannot be read/);
  await assert.rejects(
    start({ out: 'x', groups: [{ match: 'nothing' }] }),
    /groups\[0\]: no parameter is left for nothing/,
  );
  await assert.rejects(start({ out: 'x', task: 'read', data: undefined, steps: 1 }), /unknown field data/);
  const gone = writeData(folder, 'gone.json', [{ ...text, image: 'gone.png' }]);
  await assert.rejects(start({ out: 'x', evaluation: { data: [{ file: gone }] } }), /gone\.json:2: .*gone\.png/);
  const wide = join(base, 'wide');
  cpSync(resolve(checkpoint), wide, { recursive: true });
  const added = JSON.parse(readFileSync(join(wide, 'added_tokens.json'), 'utf8')) as JsonObject;
  writeFileSync(join(wide, 'added_tokens.json'), JSON.stringify({ ...added, '<more>': 620 }));
  await assert.rejects(start({ out: 'x', start: wide }), /its tokenizer has 621 tokens, its model 620/);
  assert.ok(!existsSync(join(base, 'x')));
});
