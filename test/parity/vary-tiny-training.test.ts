import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floats, sizeOf, type Tensor } from '../../src/core/tensor.js';
import { differentiate, gradientName } from '../../src/grad/backward.js';
import { prepareForward } from '../../src/infer/forward.js';
import { varyFamily } from '../../src/infer/graphs.js';
import { renameVaryTensor, varyConfigFrom } from '../../src/models/vary.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { runGraph } from '../helpers/run-graph.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from '../helpers/tensors.js';

const expected = await fixtureTensors('vary-tiny/expected.safetensors');
const checkpoint = await fixtureTensors('vary-tiny/checkpoint/model.safetensors');
const { config } = fixtureJson<{ config: { zero_gradient_parameters: string[] } }>('vary-tiny/case.json');
const family = varyFamily(varyConfigFrom(fixtureJson('vary-tiny/checkpoint/config.json'), 'config.json'));
const rows = (name: string) => rowsOf(tensorOf(expected, name));
const stored = pixelsOf(tensorOf(expected, 'image_u8'));
const batch = {
  inputIds: rows('input_ids'),
  attentionMask: rows('attention_mask'),
  labels: rows('labels'),
  pixelValues: floats(stored.shape, stored.data.subarray(0, sizeOf(stored.shape))),
};
const weights = new Map<string, Tensor>([...checkpoint].map(([name, value]) => [renameVaryTensor(name), value]));

test('every gradient of the loss', async () => {
  const { graph, feeds } = prepareForward(family, batch, { fixed: true });
  const whole = graph();
  const backward = differentiate(whole);
  const got = await runGraph(backward, weights, feeds);
  assert.ok(Math.abs(Number(got['loss'].data[0]) - Number(tensorOf(expected, 'loss').data[0])) < 1e-4);
  const wanted = [...expected.keys()].filter((name) => name.startsWith('grad.'));
  assert.deepEqual(wanted.map((name) => name.slice(5)).sort(), whole.parameters.map(({ name }) => name).sort());
  for (const name of wanted) {
    const want = tensorOf(expected, name).data as Float32Array;
    const gradient = got[gradientName(name.slice(5))].data as Float32Array;
    const zero = config.zero_gradient_parameters.some((pattern) => pattern.startsWith(name.slice(5)));
    if (zero) continue;
    const largest = want.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const worst = want.reduce((most, x, i) => Math.max(most, Math.abs(x - gradient[i])), 0);
    assert.ok(worst <= 2e-3 * largest && worst <= 1e-4 * largest + 1e-5, `${name}: off by ${worst} of ${largest}`);
  }
});
