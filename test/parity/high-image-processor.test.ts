import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { Tensor } from '../../src/core/tensor.js';
import { addNoise, bitmap, brightnessContrast, dilate, erode, gaussianBlur } from '../../src/image/augment.js';
import { blipTransform, processHigh, testTransform } from '../../src/image/high-processor.js';
import { crop, type Pixels } from '../../src/image/pixels.js';
import { resizeCv2Linear } from '../../src/image/resize-cv2.js';
import { resizePillow } from '../../src/image/resize-pillow.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixturePixels } from '../helpers/png.js';
import { fixtureTensors, rowsOf, tensorOf } from '../helpers/tensors.js';

const folder = 'high-image-processor';
const size = { width: 1024, height: 1024 };
const expected = await fixtureTensors(`${folder}/expected.safetensors`);

/** The values of [3, H, W] at sampled (channel, y, x). */
function sampled({ shape, data }: Tensor, index: Tensor): number[] {
  return rowsOf(index).map(([c, y, x]) => Number(data[(c * shape[1] + y) * shape[2] + x]));
}

for (const [name, corners] of Object.entries({
  page: [0, 704],
  scene: [0, 704],
  down: [0, 704],
  tiny: [0, 704],
})) {
  test(`${name} resized as cv2 does it, every pixel of two regions`, async () => {
    const resized = resizeCv2Linear(await fixturePixels(`${folder}/images/${name}.png`), size);
    for (const at of corners) {
      const got = crop(resized, { left: at, top: at, width: 320, height: 320 });
      const want = await fixturePixels(`${folder}/resized/${name}.${at}_${at}.png`);
      assert.deepEqual(got.data, want.data, `${name} at ${at}`);
    }
  });
}

test('exactly half the size is the mean of 2x2', async () => {
  const resized = resizeCv2Linear(await fixturePixels(`${folder}/images/exact2x.png`), size);
  assert.deepEqual(resized.data, (await fixturePixels(`${folder}/resized/exact2x.png`)).data);
});

for (const [name, at] of [
  ['scene', 384],
  ['tiny', 0],
] as const) {
  test(`${name} resized as Pillow does it`, async () => {
    const resized = resizePillow(await fixturePixels(`${folder}/images/${name}.png`), size, 'bicubic');
    const got = crop(resized, { left: at, top: at, width: 256, height: 256 });
    assert.deepEqual(got.data, (await fixturePixels(`${folder}/resized_blip/${name}.${at}_${at}.png`)).data);
  });
}

for (const [prefix, transform] of [
  ['value', testTransform(size)],
  ['blip_value', blipTransform(size)],
] as const) {
  const names = [...expected.keys()].filter((name) => name.startsWith(`${prefix}.`));
  assert.ok(names.length > 0);
  for (const key of names) {
    const name = key.slice(prefix.length + 1);
    test(`${key}: normalised values`, async () => {
      const tensor = processHigh(await fixturePixels(`${folder}/images/${name}.png`), transform);
      assert.deepEqual(tensor.shape, [3, 1024, 1024]);
      const index = expected.get(`index.${name}`) ?? (expected.get('index') as Tensor);
      assertAllclose(sampled(tensor, index), expected.get(key)?.data as Float32Array, { atol: 2e-6, rtol: 0 });
    });
  }
}

const noise = tensorOf(expected, 'augment.noise').data as Float32Array;
const augmentations: Record<string, (image: Pixels) => Pixels> = {
  bitmap,
  erosion: erode,
  dilation: dilate,
  brightness_contrast: (image) => brightnessContrast(image, { contrast: 1.07, brightness: -0.04 }),
  gaussian_blur: gaussianBlur,
  gauss_noise: (image) => addNoise(image, noise),
};

for (const [name, augment] of Object.entries(augmentations)) {
  test(`${name}: every pixel, and the input is left alone`, async () => {
    const image = await fixturePixels(`${folder}/augment/input.png`);
    const before = image.data.slice();
    assert.deepEqual(augment(image).data, (await fixturePixels(`${folder}/augment/${name}.png`)).data);
    assert.deepEqual(image.data, before);
  });
}

test('noise of another size than the image is refused', async () => {
  const image = await fixturePixels(`${folder}/augment/input.png`);
  assert.throws(() => addNoise(image, noise.subarray(1)), InputError);
});
