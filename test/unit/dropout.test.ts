import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { prepareForward } from '../../src/models/forward-inputs.js';
import { addDropout, checkRates, drawMask } from '../../src/train/dropout.js';
import { family, trainingRows } from '../helpers/vary-tiny.js';

test('a mask drops its share and is a function of its seed', () => {
  const site = { input: 'dropout.0', shape: [50, 401], rate: 0.25 };
  const mask = drawMask(site, createRng(3, 1));
  assert.deepEqual(drawMask(site, createRng(3, 1)), mask);
  assert.notDeepEqual(drawMask(site, createRng(3, 2)).data, mask.data);
  assert.equal(mask.dtype, 'bool');
  const share = mask.data.reduce((sum, kept) => sum + kept, 0) / mask.data.length;
  // Four standard deviations of 20050 draws.
  assert.ok(Math.abs(share - 0.75) < 0.0123, `${share} kept`);
});

test("each decoder layer drops what attention and the MLP add, and the attention's weights; the tower nothing", () => {
  const forward = prepareForward(family, trainingRows(0, 2), { fixed: true, total: 1 }).graph();
  const { graph, sites } = addDropout(forward, { hidden: 0.1, attention: 0.2 });
  const [B, T] = [2, forward.inputs[0].value.shape[1]];
  const { heads, width, layers } = family.decoder;
  const perLayer = [
    [[B, heads, T, T], 0.2],
    [[B, T, width], 0.1],
    [[B, T, width], 0.1],
  ];
  assert.deepEqual(
    sites.map(({ shape, rate }) => [shape, rate]),
    Array.from({ length: layers }, () => perLayer).flat(),
  );
  assert.equal(
    graph.nodes.filter(({ op, scope }) => op === 'Where' && scope.startsWith('model.decoder.layers')).length,
    3 * layers,
  );
  // What comes after takes the dropped value: nothing else uses the value itself.
  for (const node of forward.nodes.filter(({ op, scope }) => op === 'Softmax' && scope.endsWith('self_attn'))) {
    const users = graph.nodes.filter(({ inputs }) => inputs.some(({ id }) => id === node.outputs[0].id));
    assert.deepEqual(
      users.map(({ op }) => op),
      ['Mul'],
    );
  }
  assert.equal(addDropout(forward, { hidden: 0, attention: 0 }).graph, forward);
});

test('rates out of range are refused', () => {
  assert.throws(() => checkRates({ hidden: 1, attention: 0 }), /dropout: expected a number from 0 below 1, got 1/);
  assert.throws(() => checkRates({ hidden: 0, attention: Number.NaN }), InputError);
});
