import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { jpegArtifacts } from '../../src/image/jpeg-artifacts.js';
import { filled, type Pixels } from '../../src/image/pixels.js';
import { augmentDocument, documentStepNames, trainTransform } from '../../src/image/train-transform.js';
import {
  compose,
  elasticTransform,
  gridDistortion,
  invert,
  remap,
  shear,
  shiftScaleRotate,
  translate,
} from '../../src/image/warp.js';
import { fixturePixels } from '../helpers/png.js';

const folder = 'high-image-processor';
const input = await fixturePixels(`${folder}/augment/input.png`);

async function assertClose(got: Pixels, name: string, { mean, most }: { mean: number; most: number }): Promise<void> {
  const want = await fixturePixels(`${folder}/warp/${name}.png`);
  assert.deepEqual([got.width, got.height], [want.width, want.height]);
  let [sum, worst] = [0, 0];
  got.data.forEach((level, i) => {
    const difference = Math.abs(level - want.data[i]);
    sum += difference;
    worst = Math.max(worst, difference);
  });
  const average = sum / got.data.length;
  assert.ok(average <= mean && worst <= most, `${name}: mean ${average}, largest ${worst}`);
}

/** Noise by a formula, as the fixture's. */
const noise = (factor: number) =>
  Float32Array.from({ length: input.width * input.height }, (_, i) => (((i * factor) % 10007) / 10007) * 2 - 1);

test('shear is OpenCV’s', () => assertClose(shear(input, { x: 2.5, y: -2 }), 'shear', { mean: 0.001, most: 1 }));

test('shift, scale and rotate is OpenCV’s', () =>
  assertClose(shiftScaleRotate(input, { dx: 0.03, dy: 0.02, scale: 0.93, angle: 1.5 }), 'shift_scale_rotate', {
    mean: 0.001,
    most: 1,
  }));

test('grid distortion is OpenCV’s', () => {
  const columns = [1.04, 0.97, 1.0, 1.05, 0.95, 1.02];
  const rows = [0.96, 1.03, 1.05, 0.98, 1.0, 0.95];
  return assertClose(gridDistortion(input, columns, rows), 'grid_distortion', { mean: 0.001, most: 1 });
});

test('elastic distortion is OpenCV’s and scipy’s', () => {
  const corners = [1.1, -0.7, 0.3, 0.9, -1.0, 0.4];
  const fields = { noiseX: noise(7919), noiseY: noise(6101) };
  return assertClose(elasticTransform(input, { ...fields, alpha: 500, sigma: 12, corners }), 'elastic', {
    mean: 0.001,
    most: 1,
  });
});

for (const quality of [50, 95]) {
  test(`JPEG of quality ${quality} is libjpeg’s within rounding`, () =>
    assertClose(jpegArtifacts(input, quality), `jpeg_${quality}`, { mean: 0.25, most: 10 }));
}

test('whole steps move pixels exactly; the way there and back is the identity', () => {
  const moved = translate(input, 3, 2);
  const at = (image: Pixels, x: number, y: number) =>
    Array.from(image.data.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3));
  assert.deepEqual(at(moved, 13, 12), at(input, 10, 10));
  assert.deepEqual(at(moved, 0, 0), [255, 255, 255]);
  const forth = [1.1, 0.2, 3, -0.1, 0.9, 4] as const;
  compose(forth, invert(forth)).forEach((value, i) => {
    assert.ok(Math.abs(value - [1, 0, 0, 0, 1, 0][i]) < 1e-12);
  });
  assert.throws(() => invert([1, 1, 0, 1, 1, 0]), InputError);
  assert.throws(() => remap(input, new Float32Array(3), new Float32Array(3)), InputError);
  assert.throws(() => jpegArtifacts(input, 0), InputError);
});

const small = { width: 48, height: 36 };

test('every step alone: the same seed gives the same page, another seed another one', () => {
  const never = Object.fromEntries(documentStepNames.map((name) => [name, 0]));
  const page = { ...input };
  assert.deepEqual(augmentDocument(page, createRng(1), never).data, input.data);
  const fixed = new Set(['bitmap', 'blur', 'stroke']);
  for (const name of documentStepNames) {
    const alone = { ...never, [name]: 1 };
    const first = augmentDocument(page, createRng(5), alone);
    assert.deepEqual(augmentDocument(page, createRng(5), alone).data, first.data, name);
    assert.notDeepEqual(first.data, input.data, name);
    if (fixed.has(name)) continue;
    const others = [6, 7, 8, 9].map((seed) => augmentDocument(page, createRng(seed), alone).data);
    assert.ok(
      others.some((data) => Buffer.compare(data, first.data) !== 0),
      name,
    );
  }
});

test('trainTransform: seeded, of the tower’s size; most pages are not changed', () => {
  const white = filled(small, [255, 255, 255]);
  const one = trainTransform(white, { width: 64, height: 64 }, createRng(3, 1));
  assert.deepEqual(one.shape, [3, 64, 64]);
  assert.deepEqual(trainTransform(white, { width: 64, height: 64 }, createRng(3, 1)).data, one.data);
  const same = Array.from({ length: 200 }, (_, i) => augmentDocument(white, createRng(0, i)) === white);
  const share = same.filter(Boolean).length / 200;
  assert.ok(share > 0.55 && share < 0.8, String(share));
});
