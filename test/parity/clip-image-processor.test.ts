import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { Tensor } from '../../src/core/tensor.js';
import { clipProcessorFrom, processClip, resizeAndCrop } from '../../src/image/clip-processor.js';
import { filled, white } from '../../src/image/pixels.js';
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

const wrong: readonly (readonly [string, Record<string, unknown>, RegExp])[] = [
  ['a filter as text', { resample: '3' }, /resample/],
  ['no filter', { resample: null }, /resample/],
  ['a filter there is not', { resample: 6 }, /resample/],
  ['size 0', { size: 0 }, /size/],
  ['only the longest edge', { size: { longest_edge: 224 } }, /size: shortest_edge/],
  ['a size without its width', { size: { height: 224 } }, /size: width/],
  ['half a pixel', { crop_size: 1.5 }, /crop_size/],
  ['a crop by its edge', { crop_size: { shortest_edge: 224 } }, /crop_size: width/],
  ['two means', { image_mean: [0, 0] }, /image_mean/],
  ['a deviation of 0', { image_std: [1, 0, 1] }, /image_std/],
  ['an infinite mean', { image_mean: [Number.POSITIVE_INFINITY, 0, 0] }, /image_mean/],
  ['a switch as a number', { do_resize: 1 }, /do_resize/],
  ['a factor as text', { rescale_factor: '1/255' }, /rescale_factor/],
];

for (const [what, fields, field] of wrong) {
  test(`refused, with the field's name: ${what}`, () => {
    assert.throws(
      () => clipProcessorFrom(fields, 'config'),
      (error) => error instanceof InputError && error.message.startsWith('config: ') && field.test(error.message),
    );
  });
}

test('a configuration that is no object is refused', () => {
  assert.throws(() => clipProcessorFrom([], 'config'), InputError);
});

test('every step can be left out', () => {
  const off = { do_resize: false, do_center_crop: false, do_rescale: false, do_normalize: false };
  const { shape, data } = processClip(filled({ width: 3, height: 2 }, [7, 8, 9]), clipProcessorFrom(off));
  assert.deepEqual(shape, [3, 2, 3]);
  assert.deepEqual([...data], [...Array(6).fill(7), ...Array(6).fill(8), ...Array(6).fill(9)]);
});

test('an exact size does not keep the aspect', () => {
  const exact = clipProcessorFrom({ size: { height: 5, width: 9 }, do_center_crop: false });
  assert.deepEqual(processClip(filled({ width: 40, height: 40 }, white), exact).shape, [3, 5, 9]);
});

test('a strip that would take gigabytes is refused before they are allocated', () => {
  assert.throws(() => processClip(filled({ width: 60_000, height: 1 }, white), processor), /too elongated/);
});
