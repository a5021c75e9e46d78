import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { AbortedError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { floatView } from '../../src/core/tensor.js';
import { builtinFolder } from '../../src/node/builtin-models.js';
import { loadClip } from '../../src/node/load-clip.js';
import { loadModel } from '../../src/node/load-model.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { assertAllclose } from '../helpers/allclose.js';
import { examplePath, runCli } from '../helpers/cli.js';

const model = await loadModel('clip-nano', { threads: 1 });
after(() => model.dispose());
assert.ok(model.kind === 'clip');

const pictures = readdirSync(examplePath('pictures')).filter((name) => name.endsWith('.png'));
const labels = pictures.map((name) => name.replace('.png', '').replaceAll('-', ' '));

test('the built-in model is small, and tells many of ninety pictures of an artist it has never seen', async () => {
  assert.ok(statSync(join(builtinFolder('clip-nano'), 'model.safetensors')).size < 6e6);
  assert.ok(pictures.length >= 60);
  const classifier = await model.createClassifier(labels, { template: ['{}', 'a picture of a {}'] });
  let right = 0;
  for (const [i, name] of pictures.entries()) {
    const [best] = await classifier.classify(examplePath(`pictures/${name}`));
    if (best.label === labels[i]) right++;
  }
  assert.ok(right >= 0.3 * pictures.length, `${right} of ${pictures.length} are right`);
});

test('pictures go through a small tower in lanes: each is as it is alone, in its place, whatever their number', async () => {
  const runtime = { ...createRuntime({ threads: 2 }), runsAtOnce: 4 };
  const compiled: (number | undefined)[] = [];
  const counting: Runtime = {
    ...runtime,
    compile: (graph, options) => {
      compiled.push(options.threads);
      return runtime.compile(graph, options);
    },
  };
  const lanes = await loadClip(builtinFolder('clip-nano'), counting, 'float32');
  const alone = await loadClip(builtinFolder('clip-nano'), createRuntime({ threads: 1 }), 'float32');
  const { imageSize } = lanes.config.vision;
  const rng = createRng(4);
  const size = 3 * imageSize ** 2;
  for (const count of [1, 5, 35]) {
    const data = Float32Array.from({ length: count * size }, () => 4 * rng.next() - 2);
    const together = await lanes.embedPixels(floatView([count, 3, imageSize, imageSize], data));
    for (let i = 0; i < count; i++) {
      const own = data.subarray(i * size, (i + 1) * size);
      const { data: wanted } = await alone.embedPixels(floatView([1, 3, imageSize, imageSize], own));
      const got = together.data.subarray(i * wanted.length, (i + 1) * wanted.length);
      assertAllclose(got, [...wanted], { atol: 1e-5, rtol: 0 });
    }
  }
  assert.deepEqual(compiled, [1]);
  const controller = new AbortController();
  controller.abort();
  const pixels = floatView([35, 3, imageSize, imageSize], new Float32Array(35 * size));
  await assert.rejects(lanes.embedPixels(pixels, { signal: controller.signal }), AbortedError);
  assert.equal((await lanes.embedPixels(pixels)).shape[0], 35);
  await Promise.all([lanes.dispose(), alone.dispose()]);
});

test('texts of any kind have tokens, and long ones are refused', async () => {
  const { shape, data } = await model.embedTexts(['a red apple', 'Übermäßig 日本 \u0007 🍎', 'x'.repeat(8)]);
  assert.deepEqual(shape, [3, 128]);
  for (let row = 0; row < 3; row++) {
    const length = Math.hypot(...data.subarray(row * 128, (row + 1) * 128));
    assert.ok(Math.abs(length - 1) < 1e-5);
  }
  await assert.rejects(model.embedTexts(['one two three four five six '.repeat(5)]), /the model takes 24/);
});

test('classify and embed take it where no model is named', async () => {
  const apple = examplePath('pictures/red-apple.png');
  const classified = await runCli(['classify', apple, '--labels', 'red apple,car,house', '--json', '--threads', '1']);
  assert.equal(classified.code, 0, classified.err);
  assert.equal(JSON.parse(classified.out).labels[0].label, 'red apple');
  const embedded = await runCli(['embed', apple, '--text', 'a red apple', '--json', '--threads', '1']);
  assert.equal(embedded.code, 0, embedded.err);
  assert.equal(embedded.out.trim().split('\n').length, 2);
});
