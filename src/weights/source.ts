import { messageOf, VaryclipError, WeightsError } from '../core/errors.js';

/** Random access to the bytes of one file, wherever it lives; readers ask for the ranges they need and nothing else. */
export interface ByteSource {
  /** What error messages call it. */
  readonly name: string;
  readonly size: number;
  /** The bytes [offset, offset + length), which callers have checked to lie within `size`. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Releases what the source holds, such as a file handle. */
  dispose?(): void;
}

/** A source over bytes in memory; reads are views, not copies. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return { name, size: bytes.byteLength, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

/** Exactly `length` bytes at `offset`. Throws WeightsError, naming `what`, before anything outside the file is asked for. */
export async function readBytes(source: ByteSource, offset: number, length: number, what: string): Promise<Uint8Array> {
  if (!(isExtent(offset) && isExtent(length) && length <= source.size - offset)) {
    throw new WeightsError(
      `${source.name}: ${shown(what)} needs bytes ${offset} to ${offset + length}, the file has ${source.size}; it is cut off or damaged`,
    );
  }
  const bytes = await readRange(source, offset, length, what);
  if (bytes.byteLength !== length) {
    throw new WeightsError(
      `${source.name}: ${shown(what)} needs ${length} bytes at ${offset}, got ${bytes.byteLength}; the file changed while it was read`,
    );
  }
  return bytes;
}

async function readRange(source: ByteSource, offset: number, length: number, what: string): Promise<Uint8Array> {
  try {
    return await source.read(offset, length);
  } catch (error) {
    if (error instanceof VaryclipError) throw error;
    throw new WeightsError(`${source.name}: cannot read ${shown(what)}: ${messageOf(error)}`, { cause: error });
  }
}

/** A whole small file as text. Throws WeightsError for more than `maxBytes` or what is not UTF-8. */
export async function readText(source: ByteSource, maxBytes: number): Promise<string> {
  if (source.size > maxBytes) {
    throw new WeightsError(`${source.name}: expected at most ${maxBytes} bytes of JSON, got ${source.size}`);
  }
  return decodeUtf8(await readBytes(source, 0, source.size, 'the text'), source.name);
}

/** Text from UTF-8. A byte order mark stays in the text. Throws WeightsError for anything else. */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new WeightsError(`${where}: expected UTF-8 text, got other bytes`, { cause: error });
  }
}

/** Whether a value from a file can be a size, an offset or a dimension: an exact integer that is not negative. */
export function isExtent(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

/** The product of extents, or undefined where it, or a part of it, is not exact as a number. */
export function exactProduct(extents: readonly number[]): number | undefined {
  let product = 1;
  for (const extent of extents) {
    product *= extent;
    if (!Number.isSafeInteger(product)) return undefined;
  }
  return product;
}

/** A DataView over the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** An unsigned 64-bit word; values past 2^53 come out rounded, and larger than any file. */
export function uint64At(view: DataView, offset: number): number {
  return Number(view.getBigUint64(offset, true));
}

/** A name from a file as error messages show it: quoted and cut where it is long or holds anything but plain characters. */
export function shown(name: string): string {
  return /^[\w .:/-]{1,200}$/.test(name) ? name : JSON.stringify(name.slice(0, 200));
}

/** Whether text cannot be written as UTF-8, because half of a surrogate pair stands alone in it. */
export function hasHalfSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}
