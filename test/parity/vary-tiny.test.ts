import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { floats, sizeOf, type Tensor } from '../../src/core/tensor.js';
import type { NodeVaryModel } from '../../src/node/load-model.js';
import { loadModel } from '../../src/node/load-model.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('vary-tiny/expected.safetensors');
const rows = (name: string) => rowsOf(tensorOf(expected, name));
const want = (name: string) => tensorOf(expected, name).data as Float32Array;
const tolerance = { atol: 1e-4, rtol: 1e-4 };
const model = (await loadModel(fixturePath('vary-tiny/checkpoint'), { threads: 2 })) as NodeVaryModel;
after(() => model.dispose());

const stored = pixelsOf(tensorOf(expected, 'image_u8'));
const imageSize = sizeOf(stored.shape.slice(1));
/** The first `count` stored images, then `blank` zero ones. */
function images(count: number, blank = 0): Tensor<'float32'> {
  const data = new Float32Array((count + blank) * imageSize);
  data.set(stored.data.subarray(0, count * imageSize));
  return floats([count + blank, ...stored.shape.slice(1)], data);
}

test('features, splice, hidden states, logits and loss of a padded batch', async () => {
  const [inputIds, attentionMask, labels] = [rows('input_ids'), rows('attention_mask'), rows('labels')];
  const taps = ['image_features', 'inputs_embeds', 'hidden_states.0', 'hidden_states.1', 'hidden_states.2'];
  const feature = 'model.vision_tower_2.output';
  const got = await model.forward({
    inputIds,
    attentionMask,
    labels,
    pixelValues: images(2),
    taps: [...taps, feature],
  });
  const part = (name: string, length: number) => want(name).subarray(0, length);
  const map = got.taps[feature].data as Float32Array;
  assertAllclose(map, part('vision_feature_map', map.length), tolerance, feature);
  const features = got.taps['image_features'].data as Float32Array;
  assertAllclose(features, part('image_features', features.length), tolerance, 'image_features');
  const compared = ['inputs_embeds', 'hidden_states.0', 'hidden_states.1', 'hidden_states.2'];
  const tensors: Record<string, Tensor> = { ...got.taps, logits: got.logits };
  for (const name of [...compared, 'logits']) {
    const data = tensors[name].data as Float32Array;
    const width = data.length / attentionMask.flat().length;
    attentionMask.flat().forEach((real, at) => {
      if (!real && name !== 'inputs_embeds') return;
      const [start, end] = [at * width, (at + 1) * width];
      assertAllclose(data.subarray(start, end), want(name).subarray(start, end), tolerance, `${name} at ${at}`);
    });
  }
  assertAllclose([got.loss ?? Number.NaN], want('loss'), { atol: 1e-5, rtol: 1e-5 }, 'loss');
});

test('two images in one sample', async () => {
  const inputIds = rows('two.input_ids');
  const got = await model.forward({ inputIds, pixelValues: images(2), taps: ['inputs_embeds'] });
  assertAllclose(got.taps['inputs_embeds'].data as Float32Array, want('two.inputs_embeds'), tolerance);
  const last = got.logits.data.subarray(-2 * got.logits.shape[2]);
  assertAllclose(last, want('two.logits'), tolerance);
});

for (const bad of ['bad_count', 'bad_place']) {
  test(`${bad} is refused`, async () => {
    await assert.rejects(model.forward({ inputIds: rows(bad), pixelValues: images(1) }), InputError);
  });
}

test('greedy generation from a cache', async () => {
  const input = { inputIds: rows('gen.input_ids'), pixelValues: images(1) };
  assert.deepEqual(await model.generate(input, { maxNewTokens: 16, eosId: null }), rows('greedy.ids'));
  assert.deepEqual(await model.generate(input, { maxNewTokens: 16 }), rows('greedy_eos.ids'));
});

test('int8 weights: the same ids', async () => {
  const small = await loadModel(fixturePath('vary-tiny/checkpoint'), { threads: 2, precision: 'int8' });
  after(() => small.dispose());
  assert.ok(small.kind === 'vary');
  const input = { inputIds: rows('gen.input_ids'), pixelValues: images(1) };
  assert.deepEqual(await small.generate(input, { maxNewTokens: 16, eosId: null }), rows('greedy.ids'));
});

test('a picture is read to the text of the reference', async () => {
  const { config } = fixtureJson<{ config: { e2e_text: string } }>('vary-tiny/case.json');
  const ids = rows('e2e.ids')[0];
  const prompt = rows('e2e.input_ids')[0];
  const pieces: string[] = [];
  const result = await model.read(fixturePath('vary-tiny/e2e.png'), {
    maxNewTokens: ids.length - prompt.length,
    eosId: null,
    onText: (text) => void pieces.push(text),
  });
  assert.equal(result.usage.promptTokens, prompt.length);
  assert.equal(result.text, pieces.join(''));
  assert.equal(result.text, model.tokenizer?.decode(ids.slice(prompt.length), { skipSpecialTokens: true }));
  // The stored text is the slow tokenizer's, which adds and removes spaces round added tokens.
  assert.equal(result.text.replaceAll(' ', ''), config.e2e_text.replaceAll(' ', ''));
});

test('pages decoded together equal pages read alone', async () => {
  const path = fixturePath('vary-tiny/e2e.png');
  const [alone] = [await model.read(path, { maxNewTokens: 12 })];
  const together = await model.readAll([path, path, path], { maxNewTokens: 12 });
  for (const { text, finishReason } of together)
    assert.deepEqual({ text, finishReason }, { text: alone.text, finishReason: alone.finishReason });
});

test('a prompt with a picture and no pixels is refused, and so are pixels of another type', async () => {
  const inputIds = rows('gen.input_ids');
  await assert.rejects(model.generate({ inputIds }), /a prompt has 1 images, none were given/);
  await assert.rejects(model.forward({ inputIds }), /the prompt has 1 images, 0 were given/);
  const { patch, end } = model.config.imageTokens;
  await assert.rejects(model.generate({ inputIds: [[2, patch, end, 5]] }), /0 <img> but 1 <\/img>/);
  await assert.rejects(
    model.generate({ inputIds, pixelValues: { ...images(1), shape: [0, ...images(1).shape.slice(1)] } }),
    /pixelValues: expected at least one image, got none/,
  );
  const { shape } = images(1);
  const bytes = { dtype: 'uint8', shape, data: new Uint8Array(sizeOf(shape)) } as const;
  await assert.rejects(model.generate({ inputIds, pixelValues: bytes }), /pixelValues: expected float32, got uint8/);
});
