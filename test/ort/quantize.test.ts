import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AbortedError, InputError, WeightsError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { floats } from '../../src/core/tensor.js';
import type { Precision } from '../../src/infer/quantize.js';
import { samVitB } from '../../src/models/sam.js';
import { type VaryConfig, varyNano, varyTiny } from '../../src/models/vary.js';
import { openWeights } from '../../src/node/checkpoint-dir.js';
import { writeRandomCheckpoint } from '../../src/node/init-vary.js';
import { loadModel } from '../../src/node/load-model.js';
import { quantizeCheckpoint } from '../../src/node/quantize.js';
import { writeSafetensors } from '../../src/weights/safetensors.js';
import { scratchDir, wideOpt, writeOptCheckpoint } from '../helpers/checkpoints.js';

const scratch = scratchDir();
const source = writeOptCheckpoint(join(scratch, 'source'));
const untied = writeOptCheckpoint(join(scratch, 'untied'), { ...wideOpt, tie_word_embeddings: false });
/** Like OPT-350m: narrow embeddings projected in and out, norms after the layers, none at the end. */
const postNorm = writeOptCheckpoint(join(scratch, 'post'), {
  ...wideOpt,
  vocab_size: 600,
  word_embed_proj_dim: 128,
  do_layer_norm_before: false,
});
const inputIds = [
  [2, 17, 33, 250, 8],
  [2, 99, 1, 4, 299],
];

async function open(dir: string, precision?: Precision) {
  const model = await loadModel(dir, { threads: 1, ...(precision && { precision }) });
  after(() => model.dispose());
  assert.ok(model.kind === 'opt');
  return model;
}

for (const [name, dir] of Object.entries({ tied: source, untied, postNorm })) {
  for (const precision of ['int8', 'int4'] as const) {
    test(`${name} ${precision}: stored and quantized at load give the same logits and ids`, async () => {
      const out = join(scratch, `${name}-${precision}`);
      const { matrices, bytes, bytesBefore } = await quantizeCheckpoint(dir, { precision, out });
      assert.equal(matrices, 2 * 6 + 1);
      assert.ok(bytes < bytesBefore, `${bytes} of ${bytesBefore}`);
      const [stored, atLoad] = [await open(out), await open(dir, precision)];
      const [got, want] = [await stored.forward({ inputIds }), await atLoad.forward({ inputIds })];
      assert.deepEqual(got.logits.data, want.logits.data);
      const exact = await (await open(dir)).forward({ inputIds });
      assert.notDeepEqual(got.logits.data, exact.logits.data);
      const options = { maxNewTokens: 12, eosId: null };
      assert.deepEqual(await stored.generate({ inputIds }, options), await atLoad.generate({ inputIds }, options));
    });
  }
}

test('what was quantized has no float32 matrix beside it, except tied embeddings', async () => {
  const names = async (dir: string) => {
    const checkpoint = await openWeights(dir);
    checkpoint.dispose();
    return checkpoint.names;
  };
  const tied = await names(join(scratch, 'tied-int8'));
  assert.ok(tied.includes('model.decoder.layers.0.fc1.weight.quantized'));
  assert.ok(tied.includes('model.decoder.layers.0.fc1.weight.scales'));
  assert.ok(!tied.includes('model.decoder.layers.0.fc1.weight'));
  assert.ok(tied.includes('model.decoder.embed_tokens.weight'));
  assert.ok(tied.includes('lm_head.weight.quantized'));
  assert.ok(!(await names(join(scratch, 'untied-int8'))).includes('lm_head.weight'));
});

test('another precision than the stored one is refused, the stored one is accepted', async () => {
  const dir = join(scratch, 'tied-int8');
  for (const precision of ['float32', 'int4'] as const) {
    await assert.rejects(loadModel(dir, { precision }), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, new RegExp(`stored as int8, which cannot become ${precision}`));
      return true;
    });
  }
  await (await loadModel(dir, { precision: 'int8' })).dispose();
  await assert.rejects(
    quantizeCheckpoint(dir, { precision: 'int4', out: join(scratch, 'x') }),
    /stored as int8 already/,
  );
});

test('quantization that is not ours, and int4 marked as int8, are refused', async () => {
  const config = { ...wideOpt, quantization_config: { quant_method: 'gptq', bits: 4 } };
  const foreign = writeOptCheckpoint(join(scratch, 'foreign'), config);
  await assert.rejects(loadModel(foreign), /quantization_config: expected quant_method varyclip/);
  const older = { ...wideOpt, quantization_config: { quant_method: 'varyclip', bits: 4, block_size: 64 } };
  await assert.rejects(loadModel(writeOptCheckpoint(join(scratch, 'older'), older)), /older versions stored them/);
  const lying = join(scratch, 'lying');
  mkdirSync(lying);
  for (const name of readdirSync(join(scratch, 'tied-int4'))) {
    const bytes = readFileSync(join(scratch, 'tied-int4', name));
    writeFileSync(
      join(lying, name),
      name === 'config.json'
        ? String(bytes).replace(/"bits": 4,\s*"block_size": 64,\s*"block_size_of_8_bits": 128/, '"bits": 8')
        : bytes,
    );
  }
  await assert.rejects(loadModel(lying), (error) => {
    assert.ok(error instanceof WeightsError);
    assert.match(
      error.message,
      /misshapen.*q_proj.weight.quantized: expected int8 \[256,256\], got uint8 \[256,4,32\]/s,
    );
    return true;
  });
});

test('packed weights or scales of another dtype are refused', async () => {
  const checkpoint = await openWeights(join(scratch, 'tied-int8'));
  const tensors = new Map(await Promise.all(checkpoint.names.map(async (n) => [n, await checkpoint.read(n)] as const)));
  checkpoint.dispose();
  const config = readFileSync(join(scratch, 'tied-int8', 'config.json'));
  for (const [suffix, dtype, data] of [
    ['quantized', 'uint8', new Uint8Array(256 * 256)],
    ['scales', 'float16', new Uint16Array(256)],
  ] as const) {
    const name = `model.decoder.layers.0.fc1.weight.${suffix}`;
    const dir = join(scratch, `dtype-${suffix}`);
    mkdirSync(dir);
    writeFileSync(join(dir, 'config.json'), config);
    const changed = new Map(tensors).set(name, { dtype, shape: tensors.get(name)!.shape, data });
    writeFileSync(join(dir, 'model.safetensors'), writeSafetensors(changed));
    await assert.rejects(loadModel(dir), new RegExp(`misshapen.*${suffix}: expected .*, got ${dtype}`, 's'));
  }
});

test('an output that is there is left alone; an interrupt leaves nothing', async () => {
  const full = join(scratch, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'mine.txt'), 'mine');
  await assert.rejects(
    quantizeCheckpoint(source, { precision: 'int8', out: full }),
    /is a directory that is not empty/,
  );
  assert.deepEqual(readdirSync(full), ['mine.txt']);
  await assert.rejects(
    quantizeCheckpoint(source, { precision: 'int8', out: join(full, 'mine.txt') }),
    /mine.txt: is a file; name a directory/,
  );
  const controller = new AbortController();
  const out = join(scratch, 'aborted');
  const onTensor = () => controller.abort();
  await assert.rejects(
    quantizeCheckpoint(source, { precision: 'int8', out, signal: controller.signal, onTensor }),
    AbortedError,
  );
  assert.ok(!existsSync(out));
  assert.deepEqual(
    readdirSync(scratch).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test('an empty output directory is used; configuration and licence come along', async () => {
  writeFileSync(join(source, 'LICENSE'), 'terms');
  writeFileSync(join(source, 'notes.txt'), 'not part of a checkpoint');
  const out = join(scratch, 'empty');
  mkdirSync(out);
  await quantizeCheckpoint(source, { precision: 'int8', out });
  assert.deepEqual(readdirSync(out).sort(), ['LICENSE', 'config.json', 'model.safetensors']);
  const { quantization_config, ...rest } = JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'));
  assert.deepEqual(rest, wideOpt);
  assert.deepEqual(quantization_config, { quant_method: 'varyclip', bits: 8 });
});

test('what is laid out otherwise for the processor alone is stored as it is read', async () => {
  // 64 patches, and an MLP of which the rows have space between them.
  const size = { imageSize: [128, 128], width: 32, depth: 1, heads: 2, mlpRatio: 32, globalBlocks: [0] } as const;
  const imageTokens = { ...varyTiny.imageTokens, count: 4 };
  const tower = { ...samVitB, ...size };
  const config: VaryConfig = { ...varyTiny, imageTokens, decoder: varyNano.decoder, tower };
  const dir = join(scratch, 'page');
  await writeRandomCheckpoint(dir, config, 5);
  const out = join(scratch, 'page-int8');
  await quantizeCheckpoint(dir, { precision: 'int8', out });
  const [before, after] = [await openWeights(dir), await openWeights(out)];
  const ofTower = (names: readonly string[]) => names.filter((name) => name.includes('vision_tower')).sort();
  assert.ok(ofTower(before.names).some((name) => name.endsWith('mlp.lin2.weight')));
  assert.deepEqual(ofTower(after.names), ofTower(before.names));
  before.dispose();
  after.dispose();
});

test('a tower in 8 bits sees nearly the same', async () => {
  const dir = join(scratch, 'nano');
  await writeRandomCheckpoint(dir, varyNano, 5);
  const rng = createRng(9);
  const [height, width] = varyNano.tower.imageSize;
  const pixelValues = floats(
    [1, 3, height, width],
    Float32Array.from({ length: 3 * height * width }, () => rng.normal()),
  );
  const { start, patch, end, count } = varyNano.imageTokens;
  const prompt = [[2, start, ...Array<number>(count).fill(patch), end, 7]];
  const features = [];
  for (const towerPrecision of ['float32', 'int8'] as const) {
    const model = await loadModel(dir, { threads: 1, towerPrecision });
    after(() => model.dispose());
    assert.ok(model.kind === 'vary');
    assert.equal(model.towerPrecision, towerPrecision);
    const { taps } = await model.forward({ inputIds: prompt, pixelValues, taps: ['image_features'] });
    features.push(taps['image_features'].data as Float32Array);
  }
  assert.notDeepEqual(features[1], features[0]);
  const cosine =
    dot(features[0], features[1]) / Math.sqrt(dot(features[0], features[0]) * dot(features[1], features[1]));
  assert.ok(cosine > 0.999, `cosine ${cosine}`);
  await assert.rejects(
    loadModel(dir, { towerPrecision: 'int4' as 'int8' }),
    /towerPrecision: expected float32 or int8/,
  );
});

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
