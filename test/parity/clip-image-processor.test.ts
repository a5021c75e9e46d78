import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../src/core/tensor.js';
import { clipProcessorFrom, processClip, resizeAndCrop } from '../../src/image/clip-processor.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixturePixels } from '../helpers/png.js';
import { fixtureTensors, rowsOf } from '../helpers/tensors.js';

const folder = 'clip-image-processor';
const expected = await fixtureTensors(`${folder}/expected.safetensors`);
const configOf = (name: string) => clipProcessorFrom(fixtureJson(`${folder}/${name}.json`), name);
const processor = configOf('preprocessor_config');
const inputs: Record<string, string> = {
  rgb: 'images/rgb.png',
  gray: 'images/gray.png',
  rgba: 'images/rgba.png',
  palette: 'images/palette.png',
  gray16: 'images/gray16.png',
  tiny: 'images/tiny.png',
  large: 'images/large.png',
  landscape: 'decoded/landscape.png',
  exif: 'decoded/exif.png',
  exif_applied: 'images/exif_applied.png',
};
const index = rowsOf(expected.get('index') as Tensor);

test('the modern form of the configuration means the same', () => {
  assert.deepEqual(configOf('preprocessor_config.modern'), processor);
});

for (const [name, file] of Object.entries(inputs)) {
  test(`${name}: every pixel of the crop, and normalised values`, async () => {
    const image = await fixturePixels(`${folder}/${file}`);
    assert.deepEqual(resizeAndCrop(image, processor).data, (await fixturePixels(`${folder}/crops/${name}.png`)).data);
    const { shape, data } = processClip(image, processor);
    const got = index.map(([c, y, x]) => data[(c * shape[1] + y) * shape[2] + x]);
    assertAllclose(got, expected.get(`value.${name}`)?.data as Float32Array, { atol: 2e-6, rtol: 0 });
    const small = expected.get(`small.pixel_values.${name}`);
    if (!small) return;
    const whole = processClip(image, configOf('preprocessor_config.small'));
    assert.deepEqual(whole.shape, small.shape);
    assertAllclose(whole.data, small.data as Float32Array, { atol: 2e-6, rtol: 0 });
  });
}

for (const name of ['portrait', 'landscape', 'exif']) {
  test(`${name}.jpg, decoded here: close to the reference's decoder`, async () => {
    const got = resizeAndCrop(await fixturePixels(`${folder}/images/${name}.jpg`), processor).data;
    const want = (await fixturePixels(`${folder}/crops/${name}.png`)).data;
    let worst = 0;
    want.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - got[i]));
    });
    assert.ok(worst <= 3, `differs by up to ${worst} levels`);
  });
}
