import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Tensor } from '../../src/core/tensor.js';
import { openClip } from '../../src/node/load-clip.js';
import { loadModel } from '../../src/node/load-model.js';
import { writeSafetensors } from '../../src/weights/safetensors.js';
import { assertAllclose } from '../helpers/allclose.js';
import { temporaryFolder } from '../helpers/clip-checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('clip/expected.safetensors');
const ours = await fixtureTensors('clip/ckpt-legacy/model.safetensors');
const input = {
  inputIds: rowsOf(tensorOf(expected, 'legacy.input_ids')),
  attentionMask: rowsOf(tensorOf(expected, 'legacy.attention_mask')),
  pixelValues: pixelsOf(tensorOf(expected, 'legacy.image_u8')),
};
const logits = (tensorOf(expected, 'legacy.logits_per_image').data as Float32Array).slice();

async function logitsOf(path: string): Promise<Float32Array> {
  const model = await loadModel(path, { threads: 2 });
  after(() => model.dispose());
  assert.ok(model.kind === 'clip');
  return (await model.forward(input)).logitsPerImage.data;
}

const names = {
  logit_scale: 'logit_scale',
  'token_embedding.weight': 'text_model.embeddings.token_embedding.weight',
  positional_embedding: 'text_model.embeddings.position_embedding.weight',
  'ln_final.weight': 'text_model.final_layer_norm.weight',
  'ln_final.bias': 'text_model.final_layer_norm.bias',
  'visual.class_embedding': 'vision_model.embeddings.class_embedding',
  'visual.conv1.weight': 'vision_model.embeddings.patch_embedding.weight',
  'visual.positional_embedding': 'vision_model.embeddings.position_embedding.weight',
  'visual.ln_pre.weight': 'vision_model.pre_layrnorm.weight',
  'visual.ln_pre.bias': 'vision_model.pre_layrnorm.bias',
  'visual.ln_post.weight': 'vision_model.post_layernorm.weight',
  'visual.ln_post.bias': 'vision_model.post_layernorm.bias',
};
const parts = {
  'attn.out_proj': 'self_attn.out_proj',
  ln_1: 'layer_norm1',
  ln_2: 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
};

const get = (name: string) => tensorOf(ours, name) as Tensor<'float32'>;

function transposed({ shape: [rows, columns], data }: Tensor<'float32'>): Tensor<'float32'> {
  const out = Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
  return { dtype: 'float32', shape: [columns, rows], data: out };
}

/** The legacy checkpoint as openai/CLIP's model.py would hold it. */
function openAiTensors(): Map<string, Tensor<'float32'>> {
  const tensors = new Map(Object.entries(names).map(([theirs, name]) => [theirs, get(name)]));
  tensors.set('text_projection', transposed(get('text_projection.weight')));
  tensors.set('visual.proj', transposed(get('visual_projection.weight')));
  for (const [tower, prefix, layers] of [['vision', 'visual.', 2] as const, ['text', '', 1] as const]) {
    for (let layer = 0; layer < layers; layer++) {
      const from = `${tower}_model.encoder.layers.${layer}`;
      const to = `${prefix}transformer.resblocks.${layer}`;
      for (const kind of ['weight', 'bias']) {
        for (const [theirs, name] of Object.entries(parts)) {
          tensors.set(`${to}.${theirs}.${kind}`, get(`${from}.${name}.${kind}`));
        }
        const qkv = ['q', 'k', 'v'].map((letter) => get(`${from}.self_attn.${letter}_proj.${kind}`));
        const shape = [3 * qkv[0].shape[0], ...qkv[0].shape.slice(1)];
        const data = Float32Array.from(qkv.flatMap((part) => Array.from(part.data)));
        tensors.set(`${to}.attn.in_proj_${kind}`, { dtype: 'float32', shape, data });
      }
    }
  }
  return tensors;
}

test("open_clip's names and config", async () => {
  const dir = temporaryFolder();
  writeFileSync(join(dir, 'open_clip_model.safetensors'), writeSafetensors(openAiTensors()));
  const config = { quick_gelu: true, vision_cfg: { head_width: 8 }, text_cfg: { heads: 2 } };
  writeFileSync(join(dir, 'open_clip_config.json'), JSON.stringify({ model_cfg: config }));
  assertAllclose(await logitsOf(dir), logits, { atol: 2e-4, rtol: 1e-4 });
});

test("open_clip's training checkpoint: every name behind `module.`", async () => {
  const dir = temporaryFolder();
  const wrapped = new Map([...openAiTensors()].map(([name, tensor]) => [`module.${name}`, tensor]));
  writeFileSync(join(dir, 'open_clip_model.safetensors'), writeSafetensors(wrapped));
  const config = { quick_gelu: true, vision_cfg: { head_width: 8 }, text_cfg: { heads: 2 } };
  writeFileSync(join(dir, 'open_clip_config.json'), JSON.stringify({ model_cfg: config }));
  assertAllclose(await logitsOf(dir), logits, { atol: 2e-4, rtol: 1e-4 });
});

test('pictures are prepared as processor_config.json says, before preprocessor_config.json', async () => {
  const dir = temporaryFolder();
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(fixturePath(`clip/ckpt-legacy/${name}`), join(dir, name));
  const stored = (name: string, json: object) => writeFileSync(join(dir, name), JSON.stringify(json));
  const open = async () => {
    const { processor, checkpoint } = await openClip(dir);
    checkpoint.dispose();
    return processor;
  };
  const half = [0.5, 0.5, 0.5];
  stored('preprocessor_config.json', { size: 20, image_mean: half, do_center_crop: null, crop_size: null });
  const older = await open();
  assert.deepEqual([older.resize, older.crop, older.normalize?.mean], [20, undefined, half]);
  const image_processor = { size: { shortest_edge: 16 }, crop_size: { height: 16, width: 18 }, image_mean: half };
  stored('processor_config.json', { image_processor, processor_class: 'CLIPProcessor' });
  const { resize, crop } = await open();
  assert.deepEqual([resize, crop], [16, { height: 16, width: 18 }]);
  for (const [step, message] of [
    [{ do_pad: true }, /image_processor: do_pad: expected false, got true/],
    [{ size: { shortest_edge: 16, longest_edge: 20 } }, /longest_edge: expected shortest_edge alone/],
  ] as const) {
    stored('processor_config.json', { image_processor: { ...image_processor, ...step } });
    await assert.rejects(open(), message);
  }
  stored('processor_config.json', { image_processor: { size: 16, default_to_square: true } });
  assert.deepEqual((await open()).resize, { width: 16, height: 16 });
});

test('towers and pictures as open_clip has them beside CLIP: taken, or refused by name', async () => {
  const dir = temporaryFolder();
  writeFileSync(join(dir, 'open_clip_model.safetensors'), writeSafetensors(openAiTensors()));
  const plain = { quick_gelu: true, vision_cfg: { head_width: 8 }, text_cfg: { heads: 2 } };
  const open = (model: object, preprocess: object = {}) => {
    const json = { model_cfg: { ...plain, ...model }, preprocess_cfg: preprocess };
    writeFileSync(join(dir, 'open_clip_config.json'), JSON.stringify(json));
    return openClip(dir);
  };
  const { processor, checkpoint } = await open({}, { interpolation: 'bilinear', resize_mode: 'squash' });
  checkpoint.dispose();
  const side = { width: 24, height: 24 };
  assert.deepEqual([processor.resize, processor.filter, processor.crop], [side, 'bilinear', undefined]);
  const sized = await open({ vision_cfg: { head_width: 8, image_size: 26 } });
  sized.checkpoint.dispose();
  assert.deepEqual([sized.processor.resize, sized.config.vision.imageSize], [26, 26]);
  await assert.rejects(open({ vision_cfg: { image_size: 50 } }), /image_size: expected 3 patches of 8/);
  const pooled = { vision_cfg: { pool_type: 'avg' } };
  await assert.rejects(open(pooled), /vision_cfg: pool_type: expected "tok", got "avg"/);
  await assert.rejects(
    open({ text_cfg: { no_causal_mask: true } }),
    /text_cfg: no_causal_mask: expected false, got true/,
  );
  await assert.rejects(open({}, { resize_mode: 'longest' }), /resize_mode: expected shortest or squash, got "longest"/);
  await assert.rejects(open({}, { interpolation: 'random' }), /interpolation: expected bilinear or bicubic/);
});

test("OpenAI's archive: a TorchScript file alone, heads of 64", async () => {
  const dir = temporaryFolder();
  const file = join(dir, 'tiny.pt');
  copyFileSync(fixturePath('clip/openai.pt'), file);
  // The tiny towers are narrower than one head of 64, so the same weights in the other layout get one head too.
  const config = JSON.parse(readFileSync(fixturePath('clip/ckpt-legacy/config.json'), 'utf8')) as Record<
    string,
    object
  >;
  for (const tower of ['text_config', 'vision_config']) config[tower] = { ...config[tower], num_attention_heads: 1 };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
  copyFileSync(fixturePath('clip/ckpt-legacy/model.safetensors'), join(dir, 'model.safetensors'));
  assertAllclose(await logitsOf(file), await logitsOf(dir), { atol: 1e-6, rtol: 1e-6 });
});

test('a file of other tensors is refused by what it lacks', async () => {
  const file = join(temporaryFolder(), 'other.safetensors');
  writeFileSync(file, writeSafetensors(new Map([['x', get('logit_scale')]])));
  await assert.rejects(loadModel(file), /expected OpenAI's CLIP tensors/);
});
