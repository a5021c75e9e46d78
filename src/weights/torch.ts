/** `torch.save` files (torch/serialization.py): zip archives, and the legacy layout before 1.6. Nothing in them is run. */
import { allocate, type DType, itemSize, viewBytes } from '../core/dtype.js';
import { WeightsError } from '../core/errors.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import { type Checkpoint, expectEntry } from './checkpoint.js';
import {
  createDict,
  describe,
  isKind,
  type PickleDict,
  type PickleRecord,
  type PickleValue,
  type PickleVocabulary,
  readPickle,
} from './pickle.js';
import { type ByteSource, exactProduct, isExtent, readBytes, uint64At, viewOf } from './source.js';
import { checkCrc, locateMember, readMember, readZip, type ZipMember } from './zip.js';

/** A storage as the pickle names it. */
interface StorageRecord extends PickleRecord {
  readonly of: 'storage';
  readonly key: string;
  readonly dtype: DType;
  readonly length: number;
}
/** A view of a storage. Offsets and strides count elements. */
interface TensorRecord extends PickleRecord {
  readonly of: 'tensor';
  readonly storage: StorageRecord;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

const storageDTypes: Readonly<Record<string, DType>> = {
  DoubleStorage: 'float64',
  FloatStorage: 'float32',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
};

const maxPickleBytes = 64 << 20;
const legacyMagic = 0x1950a86a20f9469cfc6cn;
const isRecord = <T extends PickleRecord>(value: PickleValue | undefined, of: T['of']): value is T =>
  isKind(value, 'record') && value.of === of;

/** Opens a pytorch_model.bin, .pth or .pt. Throws WeightsError for anything a table of tensors does not need. */
export async function openTorch(source: ByteSource): Promise<Checkpoint> {
  const head = await readBytes(source, 0, Math.min(4, source.size), 'the beginning');
  const isZip = head.length === 4 && viewOf(head).getUint32(0, true) === 0x04034b50;
  return isZip ? openZipLayout(source) : openLegacyLayout(source);
}

const vocabulary: PickleVocabulary = {
  symbols: new Map<string, ((args: readonly PickleValue[]) => PickleValue) | 'name'>([
    ['collections OrderedDict', (args) => createDict(isKind(args[0], 'list') ? args[0].items : [])],
    ['torch._utils _rebuild_tensor_v2', rebuildTensor],
    ['torch._utils _rebuild_parameter', ([data]) => data ?? null],
    ['torch Size', ([sizes]) => sizes ?? null],
    ...Object.keys(storageDTypes).map((name) => [`torch ${name}`, 'name'] as const),
  ]),
  persistent: storageOf,
};

function storageOf(id: PickleValue): PickleValue {
  const items = isKind(id, 'tuple') ? id.items : [];
  const [tag, type, key, , length, view] = items;
  const dtype = isKind(type, 'symbol') ? storageDTypes[type.name.replace(/^torch /, '')] : undefined;
  if (
    tag !== 'storage' ||
    !dtype ||
    typeof key !== 'string' ||
    !isExtent(length) ||
    (view !== undefined && view !== null)
  ) {
    throw new WeightsError(`expected a storage of a known type, got ${items.map(describe).join(', ') || describe(id)}`);
  }
  return { kind: 'record', of: 'storage', key, dtype, length } as StorageRecord;
}

function extentsOf(value: PickleValue | undefined, what: string): readonly number[] {
  const items = isKind(value, 'tuple') || isKind(value, 'list') ? value.items : undefined;
  if (items?.every(isExtent)) return items as readonly number[];
  throw new WeightsError(`${what}: expected whole numbers, 0 or more`);
}

/** torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …): checked against the storage before anything is read. */
function rebuildTensor([storage, offset, size, stride]: readonly PickleValue[]): PickleValue {
  if (!isRecord<StorageRecord>(storage, 'storage')) throw new WeightsError('a tensor without a storage');
  if (!isExtent(offset)) throw new WeightsError('a tensor with a storage offset that is not a whole number');
  const [shape, strides] = [extentsOf(size, 'tensor size'), extentsOf(stride, 'tensor stride')];
  const count = exactProduct(shape);
  const last = shape.reduce((at, extent, i) => at + Math.max(0, extent - 1) * strides[i], offset);
  const fits = count === 0 ? offset <= storage.length : last < storage.length;
  if (shape.length !== strides.length || count === undefined || !fits || count > storage.length) {
    throw new WeightsError(
      `a tensor [${shape}] with strides [${strides}] at ${offset} does not fit a storage of ${storage.length} elements`,
    );
  }
  return { kind: 'record', of: 'tensor', storage, offset, shape, strides } as TensorRecord;
}

/** The tensors of a state dict, or of the one under 'model' or 'state_dict'. */
function tensorsOf(value: PickleValue, where: string): Map<string, TensorRecord> {
  if (!isKind(value, 'dict')) throw new WeightsError(`${where}: expected a dict of tensors, got ${describe(value)}`);
  const nested = ['model', 'state_dict'].map((key) => value.entries.get(key)).find((inner) => isKind(inner, 'dict'));
  const table = nested && isKind(nested, 'dict') ? nested : value;
  const tensors = new Map<string, TensorRecord>();
  for (const [name, tensor] of (table as PickleDict).entries) {
    if (typeof name !== 'string' || !isRecord<TensorRecord>(tensor, 'tensor')) {
      throw new WeightsError(`${where}: expected names and tensors, got ${describe(name)} and ${describe(tensor)}`);
    }
    tensors.set(name, tensor);
  }
  return tensors;
}

type ReadStorage = (storage: StorageRecord, offset: number, length: number) => Promise<Uint8Array>;

function checkpointOf(source: ByteSource, tensors: Map<string, TensorRecord>, readStorage: ReadStorage): Checkpoint {
  const find = (name: string) => expectEntry(tensors, name, source.name);
  return {
    name: source.name,
    names: [...tensors.keys()],
    metadata: new Map(),
    info: (name) => ({ dtype: find(name).storage.dtype, shape: find(name).shape }),
    read: (name) => readTensor(find(name), readStorage),
    dispose: () => source.dispose?.(),
  };
}

async function readTensor(record: TensorRecord, readStorage: ReadStorage): Promise<Tensor> {
  const { storage, offset, shape, strides } = record;
  const { dtype } = storage;
  const count = sizeOf(shape);
  if (count === 0) return { dtype, shape, data: allocate(dtype, 0) };
  const span = shape.reduce((at, extent, i) => at + (extent - 1) * strides[i], 0) + 1;
  const size = itemSize(dtype);
  const data = viewBytes(dtype, await readStorage(storage, offset * size, span * size));
  if (isContiguous(shape, strides)) return { dtype, shape, data };
  const out = allocate(dtype, count);
  const index = shape.map(() => 0);
  for (let i = 0, at = 0; i < count; i++) {
    out[i] = data[at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return { dtype, shape, data: out };
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

async function openZipLayout(source: ByteSource): Promise<Checkpoint> {
  const members = await readZip(source);
  const pickles = [...members.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name) || name === 'data.pkl');
  if (pickles.length !== 1) {
    throw new WeightsError(`${source.name}: expected one data.pkl as torch.save writes it, got ${pickles.length}`);
  }
  const pickle = members.get(pickles[0]) as ZipMember;
  const root = pickles[0].slice(0, -'data.pkl'.length);
  await expectLittleEndian(source, members.get(`${root}byteorder`));
  const { value } = readPickle(await readMember(source, pickle, maxPickleBytes), 0, vocabulary, source.name);
  const tensors = tensorsOf(value, source.name);
  const memberOf = (storage: StorageRecord) => {
    const member = /^[0-9A-Za-z_]+$/.test(storage.key) ? members.get(`${root}data/${storage.key}`) : undefined;
    const bytes = storage.length * itemSize(storage.dtype);
    if (member?.size === bytes) return member;
    const got = member ? `${member.size}` : 'none';
    throw new WeightsError(
      `${source.name}: storage ${JSON.stringify(storage.key)}: expected ${bytes} bytes, got ${got}`,
    );
  };
  for (const { storage } of tensors.values()) memberOf(storage);
  return checkpointOf(source, tensors, async (storage, offset, length) => {
    const member = memberOf(storage);
    const range = await locateMember(source, member);
    const bytes = await readBytes(source, range.offset + offset, length, member.name);
    // A part of a storage cannot be checked against the sum of the whole.
    if (length === member.size) checkCrc(source, member, bytes);
    return bytes;
  });
}

async function expectLittleEndian(source: ByteSource, member: ZipMember | undefined): Promise<void> {
  if (!member) return;
  const order = new TextDecoder().decode(await readMember(source, member, 16)).trim();
  if (order !== 'little')
    throw new WeightsError(`${source.name}: expected little-endian data, got ${JSON.stringify(order)}`);
}

/** Pickles of a magic number, a protocol, the machine, the object and its storages' keys; then each storage. */
async function openLegacyLayout(source: ByteSource): Promise<Checkpoint> {
  const bytes = await readBytes(source, 0, Math.min(source.size, maxPickleBytes), 'the pickles');
  const where = `${source.name} (read as torch's legacy layout, before 1.6)`;
  let at = 0;
  const next = (): PickleValue => {
    const { value, end } = readPickle(bytes, at, vocabulary, where);
    at = end;
    return value;
  };
  if (next() !== legacyMagic) throw new WeightsError(`${source.name}: is not a file that torch.save wrote`);
  if (Number(next()) !== 1001) throw new WeightsError(`${where}: expected protocol 1001`);
  next();
  const tensors = tensorsOf(next(), where);
  const keys = next();
  const storages = new Map([...tensors.values()].map(({ storage }) => [storage.key, storage]));
  const places = new Map<string, number>();
  for (const key of isKind(keys, 'list') ? keys.items : []) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage) throw new WeightsError(`${where}: a storage that no tensor uses`);
    const length = uint64At(viewOf(await readBytes(source, at, 8, 'a storage length')), 0);
    if (length !== storage.length)
      throw new WeightsError(`${where}: storage ${storage.key}: expected ${storage.length} elements, got ${length}`);
    places.set(storage.key, at + 8);
    at += 8 + length * itemSize(storage.dtype);
  }
  if (at !== source.size) throw new WeightsError(`${where}: expected ${at} bytes, got ${source.size}`);
  return checkpointOf(source, tensors, (storage, offset, length) =>
    readBytes(source, expectEntry(places, storage.key, where) + offset, length, storage.key),
  );
}
