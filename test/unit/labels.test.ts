import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankLabels } from '../../src/infer/labels.js';
import { assertAllclose } from '../helpers/allclose.js';

test('labels rank by falling score: softmax over all for CLIP, a sigmoid each for SigLIP', () => {
  const logits = [0, Math.log(3), Number.NEGATIVE_INFINITY];
  for (const [family, ...scores] of [
    ['clip', 0.75, 0.25, 0],
    ['siglip', 0.75, 0.5, 0],
  ] as const) {
    const ranked = rankLabels(['a', 'b', 'c'], logits, family);
    assert.equal(ranked.map(({ label }) => label).join(''), 'bac');
    assertAllclose(
      ranked.map(({ score }) => score),
      scores,
    );
  }
});

test('labels may be more than a call takes arguments', () => {
  const labels = Array.from({ length: 300_000 }, (_, i) => `label ${i}`);
  const [first] = rankLabels(
    labels,
    Float32Array.from(labels, (_, i) => (i === 7 ? 100 : 0)),
    'clip',
  );
  assert.equal(first.label, 'label 7');
  assert.ok(first.score > 0.99);
});
