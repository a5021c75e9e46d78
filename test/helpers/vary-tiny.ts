import { floats, sizeOf } from '../../src/core/tensor.js';
import { varyFamily } from '../../src/models/graphs.js';
import { renameVaryTensor, varyConfigFrom } from '../../src/models/vary.js';
import { type Arenas, viewSlot } from '../../src/train/arena.js';
import type { ReadingBatch } from '../../src/train/tasks.js';
import { fixtureJson } from './fixtures.js';
import { fixtureTensors, pixelsOf, rowsOf, tensorOf } from './tensors.js';

const checkpoint = await fixtureTensors('vary-tiny/checkpoint/model.safetensors');
const stored = await fixtureTensors('vary-tiny/expected.safetensors');
const images = pixelsOf(tensorOf(stored, 'image_u8'));
const imageSize = sizeOf(images.shape.slice(1));
const rows = (name: string, from: number, to: number) => rowsOf(tensorOf(stored, name)).slice(from, to);

/** Expected tensors of the case. */
export const expected: typeof stored = stored;
export const family: ReturnType<typeof varyFamily> = varyFamily(
  varyConfigFrom(fixtureJson('vary-tiny/checkpoint/config.json'), 'config.json'),
);

/** Rows [from, to) of the padded batch with their images; the third row has none. */
export function trainingRows(from: number, to: number): ReadingBatch {
  const batch = {
    inputIds: rows('input_ids', from, to),
    attentionMask: rows('attention_mask', from, to),
    labels: rows('labels', from, to),
  };
  const count = Math.min(to, images.shape[0]) - from;
  if (count <= 0) return batch;
  const pixels = images.data.subarray(from * imageSize, (from + count) * imageSize);
  return { ...batch, pixelValues: floats([count, ...images.shape.slice(1)], pixels) };
}

/** Puts the case's checkpoint into a trainer's parameters. */
export function fillParameters({ layout, parameters }: Arenas): void {
  for (const [name, { data }] of checkpoint) {
    const slot = layout.slots.get(renameVaryTensor(name));
    if (slot) viewSlot(parameters, slot).data.set(data as Float32Array);
  }
}
