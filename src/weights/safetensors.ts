import { joinBytes } from '../core/bytes.js';
import { bytesOf, type DType, itemSize, viewBytes } from '../core/dtype.js';
import { InputError, WeightsError } from '../core/errors.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import { type Checkpoint, expectEntry, type TensorInfo } from './checkpoint.js';
import {
  type ByteSource,
  decodeUtf8,
  exactProduct,
  hasHalfSurrogate,
  isExtent,
  readBytes,
  shown,
  uint64At,
  viewOf,
} from './source.js';
import { isJsonArray, isJsonObject, type JsonObject, type JsonValue, parseStrictJson } from './strict-json.js';

/** The format's own limit, from its reference library. */
const maxHeaderBytes = 100_000_000;
const maxTensors = 100_000;
const maxRank = 64;
const lengthBytes = 8;

/** In the order of the reference library's writer: larger elements first, so that all data is aligned. */
const codes: readonly (readonly [string, DType])[] = [
  ['U64', 'uint64'],
  ['I64', 'int64'],
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['U32', 'uint32'],
  ['I32', 'int32'],
  ['BF16', 'bfloat16'],
  ['F16', 'float16'],
  ['U16', 'uint16'],
  ['I16', 'int16'],
  ['I8', 'int8'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
];
const dtypeOf: ReadonlyMap<string, DType> = new Map(codes);
const codeOf: ReadonlyMap<DType, string> = new Map(codes.map(([code, dtype]) => [dtype, code]));
const rankOf: ReadonlyMap<DType, number> = new Map(codes.map(([, dtype], i) => [dtype, i]));

interface Entry extends TensorInfo {
  /** Bytes from the start of the data. */
  readonly begin: number;
  readonly end: number;
}

interface Header {
  readonly metadata: ReadonlyMap<string, string>;
  readonly entries: ReadonlyMap<string, Entry>;
  /** Where the data starts in the file. */
  readonly dataStart: number;
}

/**
 * Opens a safetensors file (github.com/huggingface/safetensors). Stricter than the reference library in one point: a name that
 * occurs twice is refused. Throws WeightsError for whatever is not exactly one header and the bytes it describes.
 */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const { metadata, entries, dataStart } = await readHeader(source);
  return {
    name: source.name,
    names: [...entries.keys()],
    metadata,
    info: (name) => expectEntry(entries, name, source.name),
    read: async (name) => {
      const { dtype, shape, begin, end } = expectEntry(entries, name, source.name);
      const bytes = await readBytes(source, dataStart + begin, end - begin, name);
      return { dtype, shape, data: viewBytes(dtype, bytes) };
    },
    dispose: () => source.dispose?.(),
  };
}

async function readHeader(source: ByteSource): Promise<Header> {
  const length = uint64At(viewOf(await readBytes(source, 0, lengthBytes, 'the header length')), 0);
  if (length > maxHeaderBytes) {
    throw new WeightsError(`${source.name}: expected a header of at most ${maxHeaderBytes} bytes, got ${length}`);
  }
  const text = decodeUtf8(await readBytes(source, lengthBytes, length, 'the header'), `${source.name}: the header`);
  if (!text.startsWith('{')) throw new WeightsError(`${source.name}: expected a header that starts with "{"`);
  const json = parseStrictJson(text, `${source.name}: the header`, { maxDepth: 4 }) as JsonObject;
  const metadata = readMetadata(json.get('__metadata__'), source.name);
  const entries = readEntries(json, source.name);
  const dataStart = lengthBytes + length;
  checkLayout(entries, source.size - dataStart, source.name);
  return { metadata, entries, dataStart };
}

function readMetadata(value: JsonValue | undefined, where: string): ReadonlyMap<string, string> {
  if (value === undefined) return new Map();
  if (!isJsonObject(value)) throw new WeightsError(`${where}: expected __metadata__ to be an object of strings`);
  for (const [key, text] of value) {
    if (typeof text !== 'string') {
      throw new WeightsError(`${where}: expected __metadata__ ${shown(key)} to be a string`);
    }
  }
  return value as ReadonlyMap<string, string>;
}

function readEntries(json: JsonObject, where: string): ReadonlyMap<string, Entry> {
  const named = [...json].filter(([name]) => name !== '__metadata__');
  if (named.length > maxTensors) {
    throw new WeightsError(`${where}: expected at most ${maxTensors} tensors, got ${named.length}`);
  }
  return new Map(named.map(([name, value]) => [name, readEntry(value, `${where}: ${shown(name)}`)]));
}

function readEntry(value: JsonValue, where: string): Entry {
  if (!isJsonObject(value)) throw new WeightsError(`${where}: expected an object with dtype, shape and data_offsets`);
  const dtype = readDType(value.get('dtype'), where);
  const shape = readExtents(value.get('shape'), `${where}: shape`);
  const offsets = readExtents(value.get('data_offsets'), `${where}: data_offsets`);
  if (shape.length > maxRank)
    throw new WeightsError(`${where}: expected at most ${maxRank} dimensions, got ${shape.length}`);
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin > end) {
    throw new WeightsError(`${where}: expected data_offsets [begin, end], got [${offsets.slice(0, 4)}]`);
  }
  const needed = exactProduct([...shape, itemSize(dtype)]);
  if (needed !== end - begin) {
    throw new WeightsError(
      `${where}: ${dtype} [${shape}] needs ${needed ?? 'more than 2^53'} bytes, data_offsets give ${end - begin}`,
    );
  }
  return { dtype, shape, begin, end };
}

function readDType(code: JsonValue | undefined, where: string): DType {
  const dtype = typeof code === 'string' ? dtypeOf.get(code) : undefined;
  if (dtype !== undefined) return dtype;
  const got = typeof code === 'string' ? shown(code) : typeof code;
  throw new WeightsError(`${where}: expected a dtype of ${[...dtypeOf.keys()].join(' ')}, got ${got}`);
}

function readExtents(value: JsonValue | undefined, where: string): number[] {
  if (!isJsonArray(value) || !value.every(isExtent)) {
    throw new WeightsError(`${where}: expected a list of whole numbers that are not negative`);
  }
  return [...value] as number[];
}

/** Every byte of the data belongs to exactly one tensor. */
function checkLayout(entries: ReadonlyMap<string, Entry>, dataBytes: number, where: string): void {
  let covered = 0;
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const wrong = begin < covered ? 'overlaps the tensor before it' : 'leaves a gap before it';
      throw new WeightsError(`${where}: ${shown(name)}: expected data from byte ${covered}, got ${begin}: it ${wrong}`);
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw new WeightsError(
      `${where}: expected ${covered} bytes of data, got ${dataBytes}; the file is cut off or has foreign bytes at its end`,
    );
  }
}

/** A safetensors file in one piece; for a large one write `safetensorsChunks` to a file instead. */
export function writeSafetensors(
  tensors: Iterable<readonly [string, Tensor]>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  return joinBytes([...safetensorsChunks(tensors, metadata)]);
}

/**
 * A safetensors file in pieces: the header, then each tensor's own bytes, without a copy. The same tensors give the same bytes
 * as the reference library: sorted by element size, then name. Throws InputError for names or shapes that no file can hold.
 */
export function* safetensorsChunks(
  tensors: Iterable<readonly [string, Tensor]>,
  metadata?: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  const sorted = [...tensors].sort(
    ([nameA, a], [nameB, b]) => rankOf.get(a.dtype)! - rankOf.get(b.dtype)! || (nameA < nameB ? -1 : 1),
  );
  checkWritable(sorted, metadata);
  yield encodeHeader(sorted, metadata);
  for (const [, { data }] of sorted) yield bytesOf(data);
}

function encodeHeader(
  tensors: readonly (readonly [string, Tensor])[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  let end = 0;
  // Joined as text: an object would put number-like names first and drop "__proto__".
  const fields = tensors.map(([name, { dtype, shape, data }]) => {
    const begin = end;
    end += data.byteLength;
    return `${JSON.stringify(name)}:{"dtype":"${codeOf.get(dtype)}","shape":[${shape}],"data_offsets":[${begin},${end}]}`;
  });
  if (metadata !== undefined) fields.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.byteLength / 8) * 8;
  const header = new Uint8Array(lengthBytes + padded).fill(0x20);
  viewOf(header).setBigUint64(0, BigInt(padded), true);
  header.set(json, lengthBytes);
  return header;
}

function checkWritable(
  tensors: readonly (readonly [string, Tensor])[],
  metadata: Readonly<Record<string, string>> | undefined,
): void {
  if (tensors.length > maxTensors) throw new InputError(`safetensors: expected at most ${maxTensors} tensors`);
  if (
    Object.entries(metadata ?? {})
      .flat()
      .some(hasHalfSurrogate)
  ) {
    throw new InputError('safetensors: the metadata is not well-formed Unicode');
  }
  const seen = new Set<string>();
  for (const [name, { shape, data }] of tensors) {
    if (name === '__metadata__' || seen.has(name) || hasHalfSurrogate(name)) {
      throw new InputError(`safetensors: a tensor cannot be called ${shown(name)}${seen.has(name) ? ' twice' : ''}`);
    }
    if (!shape.every(isExtent) || shape.length > maxRank || data.length !== sizeOf(shape)) {
      throw new InputError(
        `safetensors: ${shown(name)} [${shape}] needs ${sizeOf(shape)} elements, got ${data.length}`,
      );
    }
    seen.add(name);
  }
}
