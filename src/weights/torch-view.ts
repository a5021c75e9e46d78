import { allocate, bytesOf, itemSize, viewBytes } from '../core/dtype.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import { type ByteSource, readBytes } from './source.js';
import { spanOf, type TensorRecord } from './torch-records.js';

/**
 * Reads a strided view of a storage as a dense row-major tensor; only the bytes it spans are read. `storageAt` is where the
 * storage starts in the file. `check` sees the bytes where they are the whole storage.
 */
export async function readView(
  source: ByteSource,
  name: string,
  { storage, dtype, offset, shape, stride }: TensorRecord,
  storageAt: number,
  check: (storageBytes: Uint8Array) => void,
): Promise<Tensor> {
  if (sizeOf(shape) === 0) return { dtype, shape, data: allocate(dtype, 0) };
  const size = itemSize(dtype);
  const bytes = await readBytes(source, storageAt + offset * size, spanOf(shape, stride) * size, name);
  if (bytes.byteLength === storage.byteLength) check(bytes);
  const dense = isDense(shape, stride) ? bytes : gather(bytes, size, shape, stride);
  return { dtype, shape, data: viewBytes(dtype, dense) };
}

function isDense(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && stride[i] !== expected) return false;
    expected *= shape[i];
  }
  return true;
}

/** Copies words of at most four bytes: as integers, so that every bit pattern survives. */
function gather(bytes: Uint8Array, size: number, shape: readonly number[], stride: readonly number[]): Uint8Array {
  const word = size === 1 ? 'uint8' : size === 2 ? 'uint16' : 'uint32';
  const perElement = size / itemSize(word);
  const extents = [...shape, perElement];
  const steps = [...stride.map((step) => step * perElement), 1];
  const from = viewBytes(word, bytes);
  const to = allocate(word, sizeOf(extents));
  let written = 0;
  const copy = (axis: number, at: number): void => {
    if (axis === extents.length) {
      to[written++] = from[at];
      return;
    }
    for (let i = 0; i < extents[axis]; i++) copy(axis + 1, at + i * steps[axis]);
  };
  copy(0, 0);
  return bytesOf(to);
}
