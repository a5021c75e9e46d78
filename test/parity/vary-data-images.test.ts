import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { Tensor } from '../../src/core/tensor.js';
import { clipProcessorFrom } from '../../src/image/clip-processor.js';
import { processHigh, testTransform } from '../../src/image/high-processor.js';
import { type ImageMode, processInMode } from '../../src/image/image-modes.js';
import { filled, white } from '../../src/image/pixels.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixturePixels } from '../helpers/png.js';
import { fixtureTensors, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('vary-data/expected.safetensors');
const processor = clipProcessorFrom(fixtureJson('clip-image-processor/preprocessor_config.json'));
const modes: readonly ImageMode[] = ['square', 'keep', 'pad'];

/** Compares the positions named by `index` with `value`. */
function assertSampled({ shape, data }: Tensor, index: string, value: string): void {
  const got = rowsOf(tensorOf(expected, index)).map(([c, y, x]) => Number(data[(c * shape[1] + y) * shape[2] + x]));
  assertAllclose(got, tensorOf(expected, value).data as Float32Array, { atol: 2e-6, rtol: 0 }, value);
}

for (const mode of modes) {
  for (const name of ['a', 'b', 'c']) {
    test(`${mode}: image ${name}`, async () => {
      const result = processInMode(await fixturePixels(`vary-data/images/${name}.png`), processor, mode);
      const prefix = `mode.${mode}.${name}`;
      const { data: shape } = tensorOf(expected, `${prefix}.shape`);
      assert.deepEqual(result.shape, Array.from(shape, Number));
      assertSampled(result, `${prefix}.index`, `${prefix}.value`);
    });
  }
}

for (const name of ['a', 'b', 'c']) {
  test(`the 1024 image is the untouched one: ${name}`, async () => {
    const image = await fixturePixels(`vary-data/images/${name}.png`);
    const high = processHigh(image, testTransform({ width: 1024, height: 1024 }));
    assertSampled(high, `mode.square.${name}.high_index`, `mode.square.${name}.high_value`);
  });
}

test('keep refuses an image whose short side would vanish', () => {
  assert.throws(() => processInMode(filled({ width: 449, height: 1 }, white), processor, 'keep'), InputError);
});
