import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { modelGraphs } from '../../src/infer/quantize.js';
import { optFamily } from '../../src/models/graphs.js';
import { opt125m } from '../../src/models/opt.js';
import { openWeights, readTokenizer } from '../../src/node/checkpoint-dir.js';
import { assembleVary, randomTensors, stretchPositions, withMeanRows } from '../../src/node/init-vary.js';
import { loadModel } from '../../src/node/load-model.js';
import { safetensorsChunks } from '../../src/weights/safetensors.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { runCli } from '../helpers/cli.js';
import { conversationFolder } from '../helpers/conversations.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors } from '../helpers/tensors.js';
import * as torch from '../helpers/torch-archive.js';
import { losses, startIn } from '../helpers/training.js';

const base = scratchDir();
/** Tokens of the fixture's vocabulary without Vary's three. */
const words = 617;
const optJson = {
  model_type: 'opt',
  architectures: ['OPTForCausalLM'],
  activation_function: 'relu',
  dropout: 0.1,
  hidden_size: 32,
  word_embed_proj_dim: 32,
  ffn_dim: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  max_position_embeddings: 40,
  vocab_size: 624,
  torch_dtype: 'float16',
};

/** A decoder as published: names begin with `decoder.`, the table has more rows than there are tokens. */
function writeDecoder(dir: string): ReadonlyMap<string, Tensor> {
  mkdirSync(dir);
  for (const name of ['vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json']) {
    writeFileSync(join(dir, name), readFileSync(fixturePath(`tokenizer-opt/tokenizer/${name}`)));
  }
  writeFileSync(join(dir, 'config.json'), JSON.stringify(optJson));
  const sizes = { width: 32, embedWidth: 32, mlpWidth: 64, layers: 2, heads: 4, maxPositions: 40, vocabSize: 624 };
  const tensors = randomTensors(modelGraphs(optFamily({ ...opt125m, ...sizes }), 'float32'), 5);
  const named = tensors.map(([name, tensor]) => [name.replace(/^model\./, ''), tensor] as const);
  writeFileSync(join(dir, 'model.safetensors'), Buffer.concat([...safetensorsChunks(named.map(([a, b]) => [a, b]))]));
  return new Map(named);
}

/** SAM's whole file: the image encoder under its prefix, and what Vary has no use for. */
async function writeTower(path: string): Promise<ReadonlyMap<string, Tensor>> {
  const tower = await fixtureTensors('sam-tower/tower.safetensors');
  const published = new Map([...tower].filter(([name]) => !name.startsWith('net_')));
  const all: [string, Tensor][] = [...published].map(([name, tensor]) => [`image_encoder.${name}`, tensor]);
  all.push(['prompt_encoder.no_mask_embed.weight', floats([1, 2], [1, 2])]);
  const strides = (shape: readonly number[]) => shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const entries = all.map(([name, { shape, data }], key) => [
    name,
    torch.tensorOf({ key: String(key), elements: data.length, size: shape, stride: strides(shape) }),
  ]);
  const storages = all.map(([, { data }], key) => [
    String(key),
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  ]);
  writeFileSync(
    path,
    torch.torchZip(torch.pickleOf(torch.stateDict(Object.fromEntries(entries))), Object.fromEntries(storages)),
  );
  return published;
}

const decoder = join(base, 'opt');
const towerFile = join(base, 'sam.pth');
const decoderTensors = writeDecoder(decoder);
const towerTensors = await writeTower(towerFile);

test('every tensor of both files is in the new checkpoint, stretched and extended; the rest starts as declared', async () => {
  const out = join(base, 'vary');
  const args = ['init', 'vary-tiny', '--decoder', decoder, '--tower', towerFile, '--out', out, '--positions', '128'];
  const { code, err } = await runCli(args);
  assert.equal(code, 0, err);
  assert.match(
    err,
    /wrote [\d,]+ parameters to .*; new ones: model\.vision_tower_2\.net_2\.weight, model\.vision_tower_2\.net_3\.weight, model\.mm_projector\.bias, model\.mm_projector\.weight/,
  );
  const made = await openWeights(out);
  const read = async (name: string) => (await made.read(name)) as Tensor<'float32'>;
  for (const [name, { shape, data }] of towerTensors) {
    const found = await read(`model.vision_tower_2.${name}`);
    assert.deepEqual([found.shape, found.data], [shape, data], name);
  }
  for (const [name, { shape, data }] of decoderTensors) {
    const found = await read(`model.${name}`);
    if (name.endsWith('embed_tokens.weight')) {
      assert.deepEqual(found.shape, [words + 3, 32]);
      assert.deepEqual(found.data.subarray(0, words * 32), data.subarray(0, words * 32));
    } else if (name.endsWith('embed_positions.weight')) assert.deepEqual(found.shape, [130, 32]);
    else assert.deepEqual([found.shape, found.data], [shape, data], name);
  }
  const projector = await read('model.mm_projector.weight');
  const std = Math.sqrt(projector.data.reduce((sum, x) => sum + x * x, 0) / projector.data.length);
  assert.ok(Math.abs(std - 0.02) < 0.002, `std ${std}`);
  made.dispose();
  const sam = fixtureJson<Record<string, unknown>>('sam-tower/tower.json');
  const config = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
  const block = config['vary_tower'] as Record<string, unknown>;
  for (const name of [
    'embed_dim',
    'depth',
    'num_heads',
    'mlp_ratio',
    'window_size',
    'global_attn_indexes',
    'out_chans',
  ]) {
    assert.deepEqual(block[name], sam[name], name);
  }
  assert.deepEqual(
    [
      'model_type',
      'vocab_size',
      'max_position_embeddings',
      'im_patch_token',
      'im_start_token',
      'im_end_token',
      'dropout',
      'torch_dtype',
    ].map((name) => config[name]),
    ['vary', 620, 128, 617, 618, 619, 0.1, 'float32'],
  );
});

test('its tokenizer says what it said, and knows the image tokens; it loads, and trains', async () => {
  const out = join(base, 'vary');
  const [before, after] = [readTokenizer(decoder), readTokenizer(out)];
  assert.ok(before && after);
  assert.deepEqual(after.encode('Hello world'), before.encode('Hello world'));
  assert.deepEqual(
    ['<imgpad>', '<img>', '</img>'].map((name) => after.tokenToId(name)),
    [617, 618, 619],
  );
  const model = await loadModel(out, { threads: 2 });
  assert.equal(model.kind, 'vary');
  await model.dispose();
  const { file } = await conversationFolder(2);
  const work = await startIn(base, {
    task: 'conversations',
    start: 'vary',
    out: 'trained',
    data: [{ file }],
    steps: 12,
    batchSize: 2,
    workers: 0,
    learningRate: 3e-3,
    warmupSteps: 0,
  });
  const found = await losses(work, 12);
  assert.ok(found[11] < found[0] - 1, `${found[0]} to ${found[11]}`);
  await work.dispose();
});

test('positions: the rows before the first stay, the first is the first and the last the last, between them it is linear', () => {
  // Rows 10 and 20 before the first position, then 0, 4, 8 and 12.
  const table = floats([6, 1], [10, 20, 0, 4, 8, 12]);
  assert.deepEqual([...stretchPositions(table, 7).data], [10, 20, 0, 2, 4, 6, 8, 10, 12]);
  assert.equal(stretchPositions(table, 4), table);
});

test('new words start as the mean of those that were trained', () => {
  const table = floats([4, 2], [1, 2, 3, 6, 5, 10, 100, 100]);
  assert.deepEqual([...withMeanRows(table, 3, 2, 'table').data], [1, 2, 3, 6, 5, 10, 3, 6, 3, 6]);
  assert.throws(() => withMeanRows(table, 5, 2, 'table'), /table: has 4 rows, the tokenizer 5 tokens/);
});

test('what does not fit is named, and nothing is left', async () => {
  const other = join(base, 'other');
  const options = { decoder, tower: towerFile };
  await assert.rejects(
    assembleVary(other, { ...options, decoder: 'examples/tiny-vary' }),
    /model_type: expected opt, got "vary"/,
  );
  await assert.rejects(
    assembleVary(other, { ...options, tower: join(decoder, 'model.safetensors') }),
    /no tensor is called image_encoder\.patch_embed\.proj\.weight; is it SAM's\?/,
  );
  const bare = join(base, 'bare');
  writeDecoder(bare);
  rmSync(join(bare, 'vocab.json'));
  await assert.rejects(assembleVary(other, { ...options, decoder: bare }), /has no tokenizer files/);
  await assert.rejects(assembleVary(join(base, 'vary'), options), /is a directory that is not empty/);
  const { code, err } = await runCli(['init', 'vary-tiny', '--decoder', decoder, '--out', other]);
  assert.equal(code, 2);
  assert.match(err, /with both --decoder DIR and --tower FILE/);
  assert.throws(() => readFileSync(other), /ENOENT/);
});
