import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { loadModel } from '../../src/node/load-model.js';
import { assertAllclose } from '../helpers/allclose.js';
import { withTokenizer } from '../helpers/clip-checkpoints.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('clip/expected.safetensors');
const numbers = (name: string) => tensorOf(expected, name).data as Float32Array;
const strings = fixtureJson<readonly { text: string }[]>('clip/strings.json').map(({ text }) => text);

async function open(path: string) {
  const model = await loadModel(path, { threads: 2 });
  after(() => model.dispose());
  assert.ok(model.kind === 'clip');
  return model;
}

const close = (actual: ArrayLike<number>, name: string, atol = 2e-5) =>
  assertAllclose(actual, numbers(name), { atol, rtol: 1e-4 }, name);

for (const name of ['modern', 'legacy']) {
  const input = {
    inputIds: rowsOf(tensorOf(expected, `${name}.input_ids`)),
    attentionMask: rowsOf(tensorOf(expected, `${name}.attention_mask`)),
    pixelValues: pixelsOf(tensorOf(expected, `${name}.image_u8`)),
  };

  test(`${name}: embeddings, logits, loss`, async () => {
    const model = await open(fixturePath(`clip/ckpt-${name}`));
    const { logitsPerImage, imageEmbeds, textEmbeds, loss } = await model.forward(input);
    close(imageEmbeds.data, `${name}.image_embeds`);
    close(textEmbeds.data, `${name}.text_embeds`);
    close(logitsPerImage.data, `${name}.logits_per_image`, 2e-4);
    close([loss ?? Number.NaN], `${name}.loss`);
    const { inputIds, pixelValues } = input;
    const nomask = await model.forward({ inputIds, pixelValues });
    close(nomask.textEmbeds.data, `${name}.text_embeds_nomask`);
  });

  test(`${name}: hidden states and features`, async () => {
    const model = await open(fixturePath(`clip/ckpt-${name}`));
    const { layers } = model.config.vision;
    const taps = {
      'vision_model.last_hidden_state': 'vision_last',
      [`vision_model.hidden_states.${layers - 1}`]: 'vision_penultimate',
      image_features: 'vision_pooled',
      'text_model.last_hidden_state': 'text_last',
      text_features: 'text_pooled',
    };
    const got = await model.forward({ ...input, taps: Object.keys(taps) });
    for (const [tap, stored] of Object.entries(taps)) {
      close(got.taps[tap].data as Float32Array, `${name}.${stored}`);
    }
  });

  test(`${name}: the towers alone, and texts through the tokenizer`, async () => {
    const model = await open(withTokenizer(`clip/ckpt-${name}`));
    close((await model.embedPixels(input.pixelValues)).data, `${name}.image_embeds`);
    const texts = await model.embedTexts(strings.slice(0, 4), { truncate: true });
    close(texts.data, `${name}.text_embeds`);
    assert.deepEqual(texts.truncated, name === 'modern' ? [] : [3]);
    const images = await model.embedPixels(input.pixelValues);
    close((await model.similarities(images, texts)).data, `${name}.logits_per_image`, 2e-4);
  });
}

test('a text that is too long is an error that names it; truncation is reported', async () => {
  const model = await open(withTokenizer('clip/ckpt-modern'));
  const texts = ['a cat', 'the '.repeat(60)];
  await assert.rejects(model.embedTexts(texts), (error: Error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /text 1 \("the the .*"\): has 62 tokens, the model takes 32/);
    return true;
  });
  assert.deepEqual((await model.embedTexts(texts, { truncate: true })).truncated, [1]);
  const inputIds = [Array.from({ length: 33 }, () => 5)];
  const pixelValues = pixelsOf(tensorOf(expected, 'modern.image_u8'));
  await assert.rejects(model.forward({ inputIds, pixelValues }), /33 tokens, the model has 32 positions/);
});

test('images of other sizes, whole patches or not: positions are interpolated', async () => {
  const model = await open(fixturePath('clip/ckpt-modern'));
  const sizes = await fixtureTensors('clip/sizes.safetensors');
  for (const size of ['48x40', '19x33', '32x64']) {
    const { data } = await model.embedPixels(tensorOf(sizes, `${size}.pixels`));
    const want = tensorOf(sizes, `${size}.embeds`).data as Float32Array;
    assertAllclose(data, want, { atol: 2e-5, rtol: 1e-4 }, size);
  }
});

test('classify: labels by falling score; label lists and templates are checked', async () => {
  const model = await open(withTokenizer('clip/ckpt-modern'));
  const image = { width: 30, height: 20, channels: 3, data: new Uint8Array(1800).fill(90) } as const;
  const options = { template: ['a {}', 'the {}'] };
  const ranked = await model.classify(image, ['cat', 'dog', 'bird'], options);
  assert.deepEqual(ranked.map(({ label }) => label).sort(), ['bird', 'cat', 'dog']);
  assert.ok(Math.abs(ranked.reduce((sum, { score }) => sum + score, 0) - 1) < 1e-6);
  assert.ok(ranked[0].score >= ranked[1].score && ranked[1].score >= ranked[2].score);
  const classify = (labels: string[], template = 'a {}') => model.classify(image, labels, { template });
  await assert.rejects(classify([]), /labels: expected at least one/);
  await assert.rejects(classify(['a', 'a']), /"a" occurs twice/);
  await assert.rejects(classify(['a', ' ']), /one of them is empty/);
  await assert.rejects(classify(['a'], 'a photo'), /has no \{\}/);
});
