import assert from 'node:assert/strict';
import { clipConfigFrom } from '../../src/models/clip.js';
import type { TwoTowerConfig } from '../../src/models/clip-graphs.js';
import { siglipConfigFrom } from '../../src/models/siglip.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { type Arenas, viewSlot } from '../../src/train/arena.js';
import { type ContrastiveBatch, type ContrastiveOptions, contrastiveTask } from '../../src/train/contrastive.js';
import { createTrainer, type Trainer, type TrainerOptions } from '../../src/train/trainer.js';
import { fixtureJson } from './fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from './tensors.js';

/** A fixture of two towers: its checkpoint and the batch its loss is of. */
export async function contrastiveCase(name: 'clip' | 'siglip', variant: string) {
  const folder = name === 'clip' ? `clip/ckpt-${variant}` : 'siglip/ckpt';
  const prefix = name === 'clip' ? `${variant}.` : '';
  const expected = await fixtureTensors(`${name}/expected.safetensors`);
  const json = fixtureJson(`${folder}/config.json`);
  const config: TwoTowerConfig = name === 'clip' ? clipConfigFrom(json, folder) : siglipConfigFrom(json, folder);
  const inputIds = rowsOf(tensorOf(expected, `${prefix}input_ids`));
  const labels = inputIds.map((_, i) => i);
  const batch: ContrastiveBatch = {
    pixelValues: pixelsOf(tensorOf(expected, `${prefix}image_u8`)),
    imageLabels: labels,
    inputIds,
    ...(name === 'clip' && { attentionMask: rowsOf(tensorOf(expected, `${prefix}attention_mask`)) }),
    textLabels: labels,
  };
  const want = (tensor: string) => tensorOf(expected, `${prefix}${tensor}`).data as Float32Array;
  const gradients = [...expected.keys()]
    .filter((key) => key.startsWith(`${prefix}grad.`))
    .map((key) => key.slice(`${prefix}grad.`.length));
  return { config, batch, want, gradients, weights: await fixtureTensors(`${folder}/model.safetensors`) };
}

export type ContrastiveCase = Awaited<ReturnType<typeof contrastiveCase>>;

/** A trainer with the case's parameters. */
export async function contrastiveTrainer(
  { config, weights }: ContrastiveCase,
  { task, trainer }: { task?: ContrastiveOptions; trainer?: Partial<TrainerOptions> } = {},
): Promise<Trainer<ContrastiveBatch>> {
  const runtime = createRuntime({ threads: 1 });
  const made = await createTrainer(runtime, contrastiveTask(config, runtime, task), {
    learningRate: 1e-3,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 2 },
    ...trainer,
  });
  for (const slot of made.arenas.layout.slots.values()) {
    viewSlot(made.arenas.parameters, slot).data.set(tensorOf(weights, slot.name).data as Float32Array);
  }
  return made;
}

export function gradientOf({ layout, gradients }: Arenas, name: string): Float32Array {
  const slot = layout.slots.get(name);
  assert.ok(slot, name);
  return viewSlot(gradients, slot).data;
}

const largestOf = (values: Float32Array) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** The largest difference, as a part of the tensor's largest value; zero up to rounding is left out. */
export function worstGradient(got: Arenas, want: { layout: Arenas['layout']; gradients: Float32Array }): number {
  let worst = 0;
  for (const slot of want.layout.slots.values()) {
    if (slot.offset >= want.layout.trainableSize) continue;
    const [a, b] = [gradientOf(got, slot.name), viewSlot(want.gradients, slot).data];
    const largest = largestOf(b);
    if (largest < 1e-6) continue;
    worst = Math.max(worst, b.reduce((most, x, i) => Math.max(most, Math.abs(x - a[i])), 0) / largest);
  }
  return worst;
}
