import { createRng } from '../../src/core/rng.js';
import { floats, sizeOf, type Tensor } from '../../src/core/tensor.js';
import { openSafetensors } from '../../src/weights/safetensors.js';
import { memorySource } from '../../src/weights/source.js';
import { fixtureBytes } from './fixtures.js';

/** Normal numbers. */
export function randomTensor(shape: readonly number[], seed: number, deviation = 1): Tensor<'float32'> {
  const rng = createRng(seed);
  return floats(
    shape,
    Array.from({ length: sizeOf(shape) }, () => deviation * rng.normal()),
  );
}

/** Every tensor of a safetensors fixture, by name. */
export async function fixtureTensors(name: string): Promise<ReadonlyMap<string, Tensor>> {
  const file = await openSafetensors(memorySource(name, fixtureBytes(name)));
  const tensors = new Map<string, Tensor>();
  for (const tensor of file.names) tensors.set(tensor, await file.read(tensor));
  return tensors;
}

/** One of them, or a failure that names it. */
export function tensorOf(tensors: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`fixture has no tensor ${name}`);
  return tensor;
}

/** `X.flat` and `X.offsets` as rows. */
export function raggedRows(tensors: ReadonlyMap<string, Tensor>, name: string): number[][] {
  const flat = Array.from(tensorOf(tensors, `${name}.flat`).data as BigInt64Array, Number);
  const offsets = Array.from(tensorOf(tensors, `${name}.offsets`).data as BigInt64Array, Number);
  return offsets.slice(1).map((end, i) => flat.slice(offsets[i], end));
}

/** An int64 tensor [rows, length] as rows of numbers. */
export function rowsOf({ shape, data }: Tensor): number[][] {
  const width = shape[1];
  return Array.from({ length: shape[0] }, (_, i) =>
    Array.from({ length: width }, (_, j) => Number(data[i * width + j])),
  );
}

/** Images stored as u8: pixel = u8 / 64 - 2. */
export function pixelsOf({ shape, data }: Tensor): Tensor<'float32'> {
  return { dtype: 'float32', shape, data: Float32Array.from(data as Uint8Array, (byte) => byte / 64 - 2) };
}
