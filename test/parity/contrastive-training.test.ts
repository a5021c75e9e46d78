import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { maxLogitScale } from '../../src/train/contrastive.js';
import { assertAllclose } from '../helpers/allclose.js';
import { contrastiveCase, contrastiveTrainer, gradientOf, worstGradient } from '../helpers/contrastive.js';

for (const [name, variant, left] of [
  ['clip', 'modern', 0],
  ['clip', 'legacy', 62],
  ['siglip', '', 2],
] as const) {
  test(`${name} ${variant}: loss and every gradient as transformers has them`, async () => {
    const fixture = await contrastiveCase(name, variant);
    const trainer = await contrastiveTrainer(fixture);
    assertAllclose(
      [await trainer.accumulate([fixture.batch])],
      fixture.want('loss'),
      { atol: 2e-5, rtol: 1e-4 },
      'loss',
    );
    // The fixtures keep some large ones out.
    assert.equal(trainer.arenas.layout.slots.size - fixture.gradients.length, left);
    for (const parameter of fixture.gradients) {
      const want = fixture.want(`grad.${parameter}`);
      const largest = want.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      const tolerance = { atol: 2e-5 + 2e-3 * largest, rtol: 0 };
      assertAllclose(gradientOf(trainer.arenas, parameter), want, tolerance, parameter);
    }
    await trainer.dispose();
  });

  test(`${name} ${variant}: chunks and parts give the gradients of the whole batch`, async () => {
    const fixture = await contrastiveCase(name, variant);
    const whole = await contrastiveTrainer(fixture, { task: { imageWeight: 0.5 } });
    // Two images to the first label: they are partners of one text, and of each other.
    const batch = { ...fixture.batch, imageLabels: fixture.batch.imageLabels.map((label) => Math.max(1, label)) };
    const loss = await whole.accumulate([batch]);
    const { layout } = whole.arenas;
    const gradients = whole.arenas.gradients.slice();
    const chunked = await contrastiveTrainer(fixture, { task: { chunkSize: 2, imageWeight: 0.5 } });
    assert.ok(Math.abs((await chunked.accumulate([batch])) - loss) < 1e-5 * loss);
    assert.ok(worstGradient(chunked.arenas, { layout, gradients }) < 1e-5);
    const { pixelValues, imageLabels, inputIds, attentionMask, textLabels } = batch;
    const size = pixelValues.data.length / imageLabels.length;
    const parts = [
      [0, 1],
      [1, imageLabels.length],
    ].map(([from, to]) => ({
      pixelValues: {
        ...pixelValues,
        shape: [to - from, ...pixelValues.shape.slice(1)],
        data: pixelValues.data.subarray(from * size, to * size),
      },
      imageLabels: imageLabels.slice(from, to),
      inputIds: inputIds.slice(from, to),
      ...(attentionMask && { attentionMask: attentionMask.slice(from, to) }),
      textLabels: textLabels.slice(from, to),
    }));
    assert.ok(Math.abs((await whole.accumulate(parts)) - loss) < 1e-5 * loss);
    assert.ok(worstGradient(whole.arenas, { layout, gradients }) < 1e-5);
    for (const trainer of [whole, chunked]) await trainer.dispose();
  });
}

test('the temperature stays below a factor of 100, and a frozen tower stays as it is', async () => {
  const fixture = await contrastiveCase('clip', 'modern');
  const trainer = await contrastiveTrainer(fixture, {
    trainer: { learningRate: 10, groups: [{ match: /^(vision_model|visual_projection)\./, frozen: true }] },
  });
  const { layout, parameters } = trainer.arenas;
  const before = parameters.slice();
  const scaleAt = layout.slots.get('logit_scale')?.offset ?? -1;
  // Adam's first step is the whole rate, up or down: either way the factor is too large then.
  parameters[scaleAt] = maxLogitScale + 20;
  await trainer.step([fixture.batch]);
  assert.equal(parameters[scaleAt], Math.fround(maxLogitScale));
  for (const slot of layout.slots.values()) {
    const frozen = slot.name.startsWith('vis');
    const same = parameters
      .subarray(slot.offset, slot.offset + slot.length)
      .every((x, i) => x === before[slot.offset + i]);
    assert.equal(same, frozen, slot.name);
  }
  await trainer.dispose();
});

test('what a joint loss cannot do is refused, not left out', async () => {
  const fixture = await contrastiveCase('clip', 'modern');
  const refused = (trainer: Parameters<typeof contrastiveTrainer>[1]) =>
    assert.rejects(contrastiveTrainer(fixture, trainer), InputError);
  await refused({ trainer: { dropout: { hidden: 0, attention: 0.1 } } });
  await refused({ trainer: { activationCheckpointing: true } });
  const trainer = await contrastiveTrainer(fixture, {
    trainer: { dropout: { hidden: 0, attention: 0 }, activationCheckpointing: false },
  });
  const { count } = await trainer.step([fixture.batch, fixture.batch]);
  assert.equal(count, 2 * fixture.batch.imageLabels.length);
  await assert.rejects(trainer.step([]), InputError);
  await trainer.dispose();
});
