import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { loadModel } from '../../src/node/load-model.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixturePath } from '../helpers/fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('siglip/expected.safetensors');
const numbers = (name: string) => tensorOf(expected, name).data as Float32Array;
const close = (actual: ArrayLike<number>, name: string) =>
  assertAllclose(actual, numbers(name), { atol: 5e-5, rtol: 1e-4 }, name);
const model = await loadModel(fixturePath('siglip/ckpt'), { threads: 2 });
after(() => model.dispose());
assert.ok(model.kind === 'clip');
const input = {
  inputIds: rowsOf(tensorOf(expected, 'input_ids')),
  pixelValues: pixelsOf(tensorOf(expected, 'image_u8')),
};

test('embeddings, logits, loss, the vision tower', async () => {
  const tap = 'vision_model.last_hidden_state';
  const { logitsPerImage, imageEmbeds, textEmbeds, loss, taps } = await model.forward({ ...input, taps: [tap] });
  close(imageEmbeds.data, 'image_embeds');
  close(textEmbeds.data, 'text_embeds');
  close(logitsPerImage.data, 'logits_per_image');
  close([loss ?? Number.NaN], 'loss');
  close(taps[tap].data as Float32Array, 'vision_last');
});

test('the image tower alone; similarities of other counts have no loss', async () => {
  const images = await model.embedPixels(input.pixelValues);
  close(images.data, 'image_embeds');
  const two = await model.forward({ ...input, inputIds: input.inputIds.slice(0, 2) });
  assert.equal(two.loss, undefined);
  assert.deepEqual(two.logitsPerImage.shape, [3, 2]);
});

test('what SigLIP does not take is refused', async () => {
  const attentionMask = input.inputIds.map((row) => row.map((_, t) => (t === 0 ? 1 : 0)));
  await assert.rejects(model.forward({ ...input, attentionMask }), /attends to padding/);
  await assert.rejects(model.embedTexts(['a cat']), /no tokenizer/);
});

test("a text tower narrower than the space, which is the image tower's", async () => {
  const stored = await fixtureTensors('siglip/projected/expected.safetensors');
  const projected = await loadModel(fixturePath('siglip/projected'), { threads: 2 });
  after(() => projected.dispose());
  assert.ok(projected.kind === 'clip');
  const inputIds = rowsOf(tensorOf(stored, 'input_ids'));
  const got = await projected.forward({ inputIds, pixelValues: tensorOf(stored, 'pixels') });
  for (const [name, { data }] of [
    ['image_embeds', got.imageEmbeds],
    ['text_embeds', got.textEmbeds],
  ] as const) {
    assertAllclose(data, tensorOf(stored, name).data as Float32Array, { atol: 2e-5, rtol: 1e-4 }, name);
  }
});
