import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { prefetch, type TrainingBatch } from '../../src/data/batches.js';
import { openTrainingData, type TrainingDataOptions } from '../../src/node/data/training-data.js';
import { checkpoint, conversationFolder } from '../helpers/conversations.js';

async function open(file: string, options: Partial<TrainingDataOptions> = {}) {
  const data = await openTrainingData({ checkpoint, sets: [{ file }], batchSize: 2, workers: 0, ...options });
  after(() => data.dispose());
  return data;
}

const text = {
  conversations: [
    { from: 'human', value: 'Say hello.' },
    { from: 'gpt', value: 'hello' },
  ],
};
const missing = {
  ...text,
  image: 'nowhere.png',
  conversations: [{ from: 'human', value: '<image>' }, text.conversations[1]],
};

async function take(source: { batch(i: number): Promise<TrainingBatch> }, count: number): Promise<TrainingBatch[]> {
  const batches: TrainingBatch[] = [];
  for (let i = 0; i < count; i++) batches.push(await source.batch(i));
  return batches;
}

test('batches are the same with any number of workers, and in any order', async () => {
  const { file } = await conversationFolder(5, [text]);
  const options = { seed: 7, augment: true };
  const here = await take(await open(file, options), 6);
  const threads = await open(file, { ...options, workers: 2 });
  assert.deepEqual(await take(threads, 6), here);
  assert.deepEqual(await threads.batch(2), here[2]);
  const ahead: TrainingBatch[] = [];
  for await (const batch of prefetch(threads, { end: 6, ahead: 3 })) ahead.push(batch);
  assert.deepEqual(ahead, here);
  assert.equal(threads.stepsPerEpoch, 3);
});

test('rows, labels, masks and pixels of a batch', async () => {
  const { file } = await conversationFolder(1, [text]);
  const { inputIds, labels, attentionMask, pixelValues, names } = await (await open(file, { shuffle: false })).batch(0);
  assert.deepEqual(names, [`${file}:2`, `${file}:3`]);
  assert.deepEqual(pixelValues?.shape, [1, 3, 96, 96]);
  assert.equal(inputIds[0].length, inputIds[1].length);
  assert.equal(inputIds[0].filter((id) => id === 617).length, 9);
  assert.ok(!inputIds[1].includes(617));
  assert.ok(attentionMask[1].includes(0) && labels[1].at(-1) === -100);
  assert.equal(labels[0][0], -100);
});

test('a list three times over, and three epochs, are the same samples', async () => {
  const { file, folder } = await conversationFolder(4);
  const items = JSON.parse(readFileSync(file, 'utf8')) as unknown[];
  const thrice = join(folder, 'thrice.json');
  writeFileSync(thrice, JSON.stringify([...items, ...items, ...items]));
  const pick = (batches: readonly TrainingBatch[]) =>
    batches.map(({ inputIds, pixelValues }) => ({ inputIds, pixelValues }));
  assert.deepEqual(
    pick(await take(await open(thrice, { seed: 3 }), 6)),
    pick(await take(await open(file, { seed: 3 }), 6)),
  );
});

test('broken samples are named, left out and not replaced; too many are an error', async () => {
  const { file } = await conversationFolder(3, [missing]);
  const data = await open(file, { shuffle: false, batchSize: 4, maxBad: 1, workers: 1 });
  const batch = await data.batch(0);
  assert.deepEqual(batch.names, [`${file}:2`, `${file}:3`, `${file}:4`]);
  assert.equal(batch.bad[0].where, `${file}:5`);
  assert.match(batch.bad[0].problem, /data\.json:5: .*nowhere\.png/);
  await data.batch(1);
  assert.deepEqual([...data.bad.keys()], [`${file}:5`]);
  const strict = await open(file, { shuffle: false, batchSize: 4 });
  await assert.rejects(strict.batch(0), /1 broken samples, at most 0 are allowed:\n {2}.*data\.json:5/);
});

test('a data file with items that are no conversations is refused, or they count as broken', async () => {
  const { file } = await conversationFolder(2, [{ image: 'x.png' }]);
  await assert.rejects(open(file), /data\.json:4: has no list "conversations"/);
  assert.equal((await open(file, { maxBad: 1 })).samples, 2);
});

test('ranks share every batch without overlap, and together they are the large batch', async () => {
  const { file } = await conversationFolder(8);
  const whole = await open(file, { batchSize: 4, seed: 1 });
  const parts = [await open(file, { rank: 0, ranks: 2, seed: 1 }), await open(file, { rank: 1, ranks: 2, seed: 1 })];
  for (let step = 0; step < 3; step++) {
    const names = (await Promise.all(parts.map((part) => part.batch(step)))).flatMap((batch) => batch.names);
    assert.deepEqual(names, (await whole.batch(step)).names);
  }
});

test('several sets with weights; image modes for a CLIP tower', async () => {
  const [one, two] = [await conversationFolder(2), await conversationFolder(4)];
  const sets = [
    { file: one.file, weight: 2 },
    { file: two.file, images: two.folder },
  ];
  const data = await open('', { sets, batchSize: 1, imageMode: 'pad' });
  const batches = await take(data, 8);
  assert.equal(data.stepsPerEpoch, 8);
  assert.equal(batches.filter(({ names }) => names[0].startsWith(one.file)).length, 4);
  assert.deepEqual(batches[0].clipPixelValues?.shape, [1, 3, 224, 224]);
});

test('a wrong checkpoint, file or worker count is an error at once', async () => {
  const { file } = await conversationFolder(1);
  await assert.rejects(open(file, { checkpoint: '/nowhere' }), /no such checkpoint directory/);
  await assert.rejects(open('/nowhere.json'), /cannot be read/);
  await assert.rejects(open(file, { workers: -1 }), /workers: expected/);
  await assert.rejects(open(file, { batchSize: 0 }), /batchSize: expected/);
});
