import koffi from 'koffi';
import { bytesOf, type DType, itemSize, type TypedArray, viewBytes } from '../../core/dtype.js';
import { sizeOf } from '../../core/tensor.js';
import { onnxDataTypes } from '../../onnx/emit.js';
import type { ConcreteType } from '../../runtime/runtime.js';
import { libcFunction } from '../ffi.js';
import { loadOrt, type Pointer } from './library.js';

/** A tensor that ONNX Runtime reads and writes in our memory. `data` must stay referenced until `release`. */
export interface BoundTensor extends ConcreteType {
  readonly data: TypedArray;
  readonly value: Pointer;
  release(): void;
}

let cpuMemory: Pointer | undefined;

/** An OrtValue over `data`, which is neither copied nor kept alive by it. */
function createValue(data: unknown, { dtype, shape }: ConcreteType): Pointer {
  const ort = loadOrt();
  cpuMemory ??= ort.create('CreateCpuMemoryInfo', 0, 0);
  const bytes = sizeOf(shape) * itemSize(dtype);
  const extents = BigInt64Array.from(shape, BigInt);
  return ort.create(
    'CreateTensorWithDataAsOrtValue',
    cpuMemory,
    data,
    bytes,
    extents,
    shape.length,
    onnxDataTypes[dtype],
  );
}

/**
 * Zeroed memory on the JavaScript heap's outside. Small typed arrays may live inside the heap, where the collector moves
 * them; an explicit ArrayBuffer never does. Room for one element at least, so that empty tensors have an address.
 */
export function allocateOutside(dtype: DType, length: number): TypedArray {
  const bytes = Math.max(length, 1) * itemSize(dtype);
  return viewBytes(dtype, new Uint8Array(new ArrayBuffer(bytes), 0, length * itemSize(dtype)));
}

/** A tensor in our memory; pass `data` to share memory that `allocateOutside` gave. */
export function bindTensor(
  type: ConcreteType,
  data: TypedArray = allocateOutside(type.dtype, sizeOf(type.shape)),
): BoundTensor {
  const ort = loadOrt();
  // An empty view has no address of its own: hand over the buffer it stands on.
  const value = createValue(data.length === 0 ? new Uint8Array(data.buffer) : data, type);
  return { ...type, data, value, release: () => ort.call.ReleaseValue(value) };
}

/** Outside memory that can be given back, and is then taken again. */
export interface Spares {
  /** Room for so many elements, with whatever was in it. */
  take(dtype: DType, length: number): TypedArray;
  give(data: TypedArray): void;
}

/** Pieces that are kept, as many as the tensors of a few runs, and their bytes. */
const [mostSpares, mostSpareBytes] = [32, 1 << 26];
const smallestSpare = 1024;

/**
 * Memory for tensors that come and go with their shapes. Left to the collector, each would be zeroed first, and the collector would run for
 * its size alone, tens of milliseconds at a time.
 */
export function createSpares(): Spares {
  const spares: ArrayBuffer[] = [];
  return {
    take: (dtype, length) => {
      const bytes = length * itemSize(dtype);
      const room = roomFor(bytes);
      const at = spares.findLastIndex(({ byteLength }) => byteLength === room);
      const [buffer] = at < 0 ? [new ArrayBuffer(room)] : spares.splice(at, 1);
      return viewBytes(dtype, new Uint8Array(buffer, 0, bytes));
    },
    give: ({ buffer }) => {
      spares.push(buffer as ArrayBuffer);
      let bytes = spares.reduce((sum, { byteLength }) => sum + byteLength, 0);
      while (spares.length > mostSpares || bytes > mostSpareBytes) bytes -= spares.shift()?.byteLength ?? bytes;
    },
  };
}

/** A power of two or 1.25, 1.5 or 1.75 times one: shapes that are nearly alike share their memory. */
function roomFor(bytes: number): number {
  const power = 2 ** Math.floor(Math.log2(Math.max(smallestSpare, bytes)));
  return (power / 4) * Math.ceil((4 * Math.max(smallestSpare, bytes)) / power);
}

/** Where a tensor may begin: as wide as the widest vector register. */
const alignment = 64;

/**
 * Zeroed tensors in one piece of memory: one that is large comes from the system, which zeroes pages as they are first touched, and
 * not here, where hundreds of megabytes would stop the event loop.
 */
export function bindTogether(types: readonly ConcreteType[]): BoundTensor[] {
  let end = 0;
  const places = types.map(({ dtype, shape }) => {
    const [start, bytes] = [end, sizeOf(shape) * itemSize(dtype)];
    end += alignment * Math.ceil(bytes / alignment);
    return [start, start + bytes] as const;
  });
  const whole = allocateOutside('uint8', end) as Uint8Array;
  return types.map((type, i) => bindTensor(type, viewBytes(type.dtype, whole.subarray(...places[i]))));
}

/** Bytes that are copied in some tenths of a millisecond. */
const pieceBytes = 1 << 20;

/** Copies all of `source`; where that takes long, others come in between. */
export async function copyBytes(target: Uint8Array, source: Uint8Array, pause: () => Promise<void>): Promise<void> {
  for (let at = 0; at < source.length; at += pieceBytes) {
    target.set(source.subarray(at, at + pieceBytes), at);
    await pause();
  }
}

/** A copy on its own. The memory is not zeroed before: that would take as long again, in one go. */
export async function copyOf({ dtype, data }: BoundTensor, pause: () => Promise<void>): Promise<TypedArray> {
  const bytes = Buffer.allocUnsafeSlow(data.byteLength);
  await copyBytes(bytes, bytesOf(data), pause);
  return viewBytes(dtype, bytes);
}

/** A weight in memory that goes back to the system at once when released, whatever the collector does. */
export function nativeTensor(type: ConcreteType): BoundTensor {
  const ort = loadOrt();
  const bytes = sizeOf(type.shape) * itemSize(type.dtype);
  const memory: unknown = koffi.alloc('uint8_t', Math.max(bytes, 8));
  const data = viewBytes(type.dtype, new Uint8Array(koffi.view(memory, Math.max(bytes, 8)), 0, bytes));
  const value = createValue(memory, type);
  return {
    ...type,
    data,
    value,
    release: () => {
      ort.call.ReleaseValue(value);
      koffi.free(memory);
    },
  };
}

let trim: ReturnType<typeof findTrim>;
const findTrim = () => libcFunction<(pad: number) => number>('int malloc_trim(size_t)');

/**
 * Has the C library give freed memory back to the system: glibc keeps what each of its threads freed, half a gigabyte after the
 * weights of a full-size model were packed. Other libraries do it by themselves.
 */
export async function returnFreedMemory(): Promise<void> {
  trim ??= findTrim();
  const call = trim;
  if (call) await new Promise<void>((resolve) => call.async(0, () => resolve()));
}
