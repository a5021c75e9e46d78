import { InputError } from './errors.js';

/** Element types, by their numpy names. float16 and bfloat16 are held as raw 16-bit words. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool';

interface DTypeArrays {
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int16: Int16Array;
  int8: Int8Array;
  uint64: BigUint64Array;
  uint32: Uint32Array;
  uint16: Uint16Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}

/** The typed array that holds dtype `D`. */
export type TypedArrayOf<D extends DType> = DTypeArrays[D];
export type TypedArray = DTypeArrays[DType];

type ArrayConstructor<A> = {
  new (length: number): A;
  new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): A;
  readonly BYTES_PER_ELEMENT: number;
};

const constructors: { readonly [D in DType]: ArrayConstructor<DTypeArrays[D]> } = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint64: BigUint64Array,
  uint32: Uint32Array,
  uint16: Uint16Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** All of them. */
export const dtypeNames: readonly DType[] = Object.keys(constructors) as DType[];

/** Bytes per element. */
export function itemSize(dtype: DType): number {
  return constructors[dtype].BYTES_PER_ELEMENT;
}

/** A zeroed array of `length` elements of `dtype`. */
export function allocate<D extends DType>(dtype: D, length: number): TypedArrayOf<D> {
  return new constructors[dtype](length);
}

/** A view of `bytes` as elements of `dtype`; copies only where the offset is not a multiple of the element size. */
export function viewBytes<D extends DType>(dtype: D, bytes: Uint8Array): TypedArrayOf<D> {
  const size = itemSize(dtype);
  if (bytes.byteLength % size !== 0) {
    throw new InputError(`${bytes.byteLength} bytes are not a whole number of ${dtype} elements of ${size} bytes`);
  }
  // Not slice(): a Buffer's is another view of the same bytes.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new constructors[dtype](aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
}

/** The bytes under a typed array, without a copy. */
export function bytesOf(data: TypedArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
