import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parquetWriteBuffer } from 'hyparquet-writer';
import sharp from 'sharp';
import { InputError } from '../../src/core/errors.js';
import type { JsonObject } from '../../src/core/json.js';
import type { Rgb } from '../../src/image/pixels.js';
import { openPairData } from '../../src/node/data/pair-data.js';
import { openClip } from '../../src/node/load-clip.js';
import { loadModel } from '../../src/node/load-model.js';
import { examine } from '../../src/node/training/picture-evaluation.js';
import { parseRun } from '../../src/node/training/run-file.js';
import { type RunningTraining, startRun } from '../../src/node/training/start-run.js';
import { runCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { makeTar } from '../helpers/tar.js';

const base = temporaryFolder();
const start = withTokenizer('clip/ckpt-modern');
writeFileSync(
  join(start, 'preprocessor_config.json'),
  JSON.stringify({ size: { shortest_edge: 32 }, crop_size: { height: 32, width: 32 } }),
);

const colours: Readonly<Record<string, Rgb>> = {
  red: [230, 20, 20],
  green: [20, 200, 30],
  blue: [20, 40, 230],
  white: [255, 255, 255],
  black: [0, 0, 0],
  yellow: [240, 230, 10],
};
const names = Object.keys(colours);
mkdirSync(join(base, 'pictures'));
const pictures = new Map<string, Buffer>();
for (const [name, [r, g, b]] of Object.entries(colours)) {
  const square = sharp({ create: { width: 40, height: 40, channels: 3, background: { r, g, b } } });
  const bytes = await square.png().toBuffer();
  pictures.set(name, bytes);
  writeFileSync(join(base, 'pictures', `${name}.png`), bytes);
}
const rows = names.map((name) => ({ image: `${name}.png`, text: [name, `the ${name} one`], label: name }));
writeFileSync(join(base, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));

const common: JsonObject = {
  task: 'contrastive',
  start,
  steps: 4,
  batchSize: 6,
  warmupSteps: 0,
  learningRate: 3e-3,
  schedule: 'constant',
  data: [{ file: 'rows.jsonl', images: 'pictures' }],
  augment: { rotate: 5, colour: 0.05, grayscale: 0 },
  evaluation: { same: { file: 'rows.jsonl', images: 'pictures' } },
};
const parse = (json: JsonObject) => parseRun({ ...common, ...json }, { where: 'run.json', base });
const open = (json: JsonObject, resume?: string) => startRun(parse(json), { resume, threads: 1 });

async function steps(work: RunningTraining, count: number): Promise<number[]> {
  const losses: number[] = [];
  for (let i = 0; i < count; i++) losses.push((await work.step()).loss);
  return losses;
}

const tensorsAt = (dir: string) =>
  ['model.safetensors', 'trainer.safetensors'].map((name) => readFileSync(join(dir, name)).toString('base64'));

test('a run that stopped goes on to the same bits as one that did not, and refuses other settings', async () => {
  const json = { views: 2, imageWeight: 0.5, chunkSize: 4 };
  const whole = await open({ ...json, out: 'whole' });
  const losses = await steps(whole, 4);
  const wanted = tensorsAt(await whole.save());
  await whole.dispose();

  const first = await open({ ...json, out: 'parts' });
  const before = await steps(first, 2);
  const saved = await first.save();
  await first.dispose();
  const second = await open({ ...json, out: 'parts' }, saved);
  assert.equal(second.stepsDone, 2);
  assert.deepEqual([...before, ...(await steps(second, 2))], losses);
  assert.deepEqual(tensorsAt(await second.save()), wanted);
  await second.dispose();
  await assert.rejects(open({ ...json, out: 'parts', seed: 9 }, saved), /trained with other settings/);
});

test('it learns colours from the command line, and the saved checkpoint knows them', { timeout: 60_000 }, async () => {
  const path = join(base, 'run.json');
  const json = {
    ...common,
    out: 'learnt',
    steps: 60,
    logEvery: 30,
    evaluateEvery: 60,
    saveEvery: 60,
    schedule: 'cosine',
  };
  writeFileSync(path, JSON.stringify(json));
  const { code, err } = await runCli(['train', path, '--threads', '1']);
  assert.equal(code, 0, err);
  assert.match(err, /step 60: held-out same top-1 1\.0000, same top-5 1\.0000, same recall@10 1\.0000/);
  const lines = readFileSync(join(base, 'learnt', 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n');
  const entries = lines.map((line) => JSON.parse(line) as JsonObject);
  assert.deepEqual(
    entries.map(({ step, heldOut = false }) => [step, heldOut]),
    [
      [30, false],
      [60, false],
      [60, true],
    ],
  );
  assert.ok(Number(entries[1]['loss']) < 0.5 && Number(entries[1]['factor']) > 1, lines[1]);
  assert.match(readFileSync(join(base, 'learnt', 'report.html'), 'utf8'), /pictures\/s/);
  const model = await loadModel(join(base, 'learnt', 'checkpoint-60'), { threads: 1 });
  assert.ok(model.kind === 'clip');
  const figures = await examine(model, { file: join(base, 'rows.jsonl'), images: join(base, 'pictures') });
  assert.deepEqual([figures.top1, figures.pictures, figures.labels], [1, 6, 6]);
  const [best] = await model.classify(join(base, 'pictures', 'blue.png'), names, { template: 'the {} one' });
  assert.equal(best.label, 'blue');
  await model.dispose();
});

test('an early stop waits for figures that are better when higher', async () => {
  const work = await open({ out: 'watched', earlyStop: { evaluations: 2 }, evaluation: {} });
  assert.deepEqual([await work.evaluate(), work.watch], [undefined, { best: null, since: 0 }]);
  await work.dispose();
  const watching = await open({ out: 'watched', earlyStop: { evaluations: 2 }, steps: 30 });
  const first = await watching.evaluate();
  assert.equal(first?.better, 'higher');
  assert.deepEqual(watching.watch, { best: first?.figures['same top-1'], since: 0 });
  await watching.evaluate();
  assert.equal(watching.watch.since, 1);
  await steps(watching, 30);
  const later = await watching.evaluate();
  assert.ok(Number(later?.figures['same top-1']) > Number(first?.figures['same top-1']));
  assert.deepEqual(watching.watch, { best: later?.figures['same top-1'], since: 0 });
  await watching.dispose();
});

test('shards of tar and of Parquet give the pictures and texts of the rows, in an order of their own', async () => {
  const entries = names.flatMap((name) => [
    { name: `${name}.png`, content: pictures.get(name) },
    { name: `${name}.json`, content: JSON.stringify({ text: [name, `the ${name} one`], label: name }) },
  ]);
  // A text of its own for each row: Parquet rows have one here.
  writeFileSync(join(base, 'part-0.tar'), makeTar(entries.slice(0, 6) as never));
  writeFileSync(join(base, 'part-1.tar'), makeTar(entries.slice(6) as never));
  const parquet = parquetWriteBuffer({
    columnData: [
      { name: 'image', data: names.map((name) => new Uint8Array(pictures.get(name) as Buffer)), type: 'BYTE_ARRAY' },
      { name: 'caption', data: names, type: 'STRING' },
    ],
    rowGroupSize: 4,
  });
  writeFileSync(join(base, 'rows.parquet'), new Uint8Array(parquet));
  const { config, processor, tokenizer, checkpoint } = await openClip(start);
  checkpoint.dispose();
  assert.ok(tokenizer);
  const still = { scale: [1, 1] as const, shift: 0, rotate: 0, flip: 0, grayscale: 0, colour: 0, ground: 0 };
  const means = async (file: string) => {
    const data = openPairData(
      { sets: [{ file }], batchSize: 6, augment: still, seed: 1 },
      { config, processor, tokenizer },
    );
    const [first, second] = [await data.batch(0), await data.batch(1)];
    assert.notDeepEqual(first.imageLabels, second.imageLabels);
    await assert.rejects(data.batch(0), /was asked for after batch 1/);
    const again = openPairData(
      { sets: [{ file }], batchSize: 6, augment: still, seed: 1 },
      { config, processor, tokenizer },
    );
    assert.deepEqual(await again.batch(1), second);
    const size = 3 * 32 * 32;
    const reds = first.imageLabels.map((_, i) => first.pixelValues.data[i * size]);
    return new Map(first.imageLabels.map((label, i) => [label, reds[i]]));
  };
  const rowsData = openPairData(
    { sets: [{ file: join(base, 'rows.jsonl'), images: join(base, 'pictures') }], batchSize: 6, augment: still },
    { config, processor, tokenizer },
  );
  const batch = await rowsData.batch(0);
  const wanted = new Map(batch.imageLabels.map((label, i) => [label, batch.pixelValues.data[i * 3 * 32 * 32]]));
  assert.equal(wanted.size, 6);
  for (const file of ['part-{0..1}.tar', 'rows.parquet']) {
    const got = await means(join(base, file));
    assert.deepEqual([...got].sort(), [...wanted].sort(), file);
  }
});

test('what is wrong with a run file or its data is said by name', async () => {
  const rejects = (json: JsonObject, message: RegExp) =>
    assert.rejects(
      async () => {
        const work = await open({ out: 'wrong', ...json });
        await work.step().finally(work.dispose);
      },
      (error: Error) => {
        assert.match(error.message, message);
        return error instanceof InputError;
      },
    );
  await rejects({ batchsize: 3 }, /run\.json: unknown field batchsize; there are task, start/);
  await rejects({ augment: { turn: 3 } }, /run\.json: augment: unknown field turn/);
  await rejects({ augment: { scale: [1] } }, /augment: scale: expected two values, got \[1\]/);
  await rejects({ dropout: 0.1 }, /run\.json: unknown field dropout/);
  await rejects({ start: 'pictures' }, /start: .*pictures: expected a checkpoint directory with config\.json/);
  await rejects({ groups: [{ match: '^no such', frozen: true }] }, /groups\[0\]: no parameter is left/);
  await rejects({ data: [] }, /run\.json: data: expected a list of at least 1/);
  await rejects({ data: [{ file: 'none.jsonl' }] }, /none\.jsonl: cannot be read/);
  await rejects({ data: [{ file: 'none.tar' }] }, /none\.tar: cannot be read/);
  await rejects({ data: [{ file: 'rows.jsonl' }, { file: 'part-0.tar' }] }, /cannot be mixed/);
  await rejects(
    { data: [{ file: 'rows.parquet', text: 'words' }] },
    /no column for the text \(words\); it has image, caption/,
  );
  await rejects({ data: [{ file: 'rows.jsonl' }] }, /(red|green|blue|white|black|yellow)\.png: cannot be read/);
  writeFileSync(join(base, 'broken.parquet'), 'no Parquet at all');
  await rejects({ data: [{ file: 'broken.parquet' }] }, /broken\.parquet: cannot be read as Parquet/);
});
