import { allocate, type DType, type TypedArrayOf } from './dtype.js';
import { InputError } from './errors.js';
import { bfloat16ToFloat32, float16ToFloat32 } from './half.js';

/** A dense, row-major array on the host. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: TypedArrayOf<D>;
}

/** Number of elements of a shape; 1 for a scalar's []. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** A tensor over `data`, which is not copied. Throws InputError where the lengths differ. */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: TypedArrayOf<D>): Tensor<D> {
  if (data.length !== sizeOf(shape)) {
    throw new InputError(`tensor [${shape}] needs ${sizeOf(shape)} elements, got ${data.length}`);
  }
  return { dtype, shape, data };
}

/** A tensor of zeros. */
export function zeros<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape, data: allocate(dtype, sizeOf(shape)) };
}

/** A float32 tensor from numbers. */
export function floats(shape: readonly number[], values: ArrayLike<number>): Tensor<'float32'> {
  return tensor('float32', shape, Float32Array.from(values));
}

/** A float32 tensor over memory that is there: nothing is copied. */
export function floatView(shape: readonly number[], data: Float32Array): Tensor<'float32'> {
  return tensor('float32', shape, data);
}

/** An int64 tensor from numbers. */
export function ints(shape: readonly number[], values: ArrayLike<number>): Tensor<'int64'> {
  const data = new BigInt64Array(values.length);
  for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i]);
  return tensor('int64', shape, data);
}

/** An int32 tensor from numbers. */
export function int32s(shape: readonly number[], values: ArrayLike<number>): Tensor<'int32'> {
  return tensor('int32', shape, Int32Array.from(values));
}

/** Narrows a tensor's type, or throws InputError naming `what`. */
export function expectDType<D extends DType>(value: Tensor, dtype: D, what: string): Tensor<D> {
  if (value.dtype !== dtype) throw new InputError(`${what}: expected ${dtype}, got ${value.dtype}`);
  return value as unknown as Tensor<D>;
}

/** Rows of equal length as an int64 tensor [rows, length]. Throws InputError for ragged rows. */
export function intRows(rows: readonly (readonly number[])[], what: string): Tensor<'int64'> {
  const length = rows[0]?.length ?? 0;
  rows.forEach((row, i) => {
    if (row.length !== length) {
      throw new InputError(`${what}: rows must have equal length, row 0 has ${length}, row ${i} has ${row.length}`);
    }
  });
  return ints([rows.length, length], rows.flat());
}

/** The values as float32, converting half types exactly; float32 itself is returned as it is. */
export function toFloat32(value: Tensor, what: string): Tensor<'float32'> {
  const { dtype, shape, data } = value;
  if (dtype === 'float32') return value as unknown as Tensor<'float32'>;
  if (dtype === 'float16') return { dtype: 'float32', shape, data: float16ToFloat32(data as Uint16Array) };
  if (dtype === 'bfloat16') return { dtype: 'float32', shape, data: bfloat16ToFloat32(data as Uint16Array) };
  if (dtype === 'float64') return { dtype: 'float32', shape, data: Float32Array.from(data as Float64Array) };
  throw new InputError(`${what}: expected a floating-point tensor, got ${dtype}`);
}
