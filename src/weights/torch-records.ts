import { type DType, dtypeNames, itemSize } from '../core/dtype.js';
import { WeightsError } from '../core/errors.js';
import {
  createDict,
  describe,
  isKind,
  isPickleObject,
  type PickleDict,
  type PickleObject,
  type PickleRecord,
  type PickleValue,
  type PickleVocabulary,
} from './pickle.js';
import { exactProduct, isExtent, shown } from './source.js';

/** A run of bytes that tensors are views of. */
export interface StorageRecord extends PickleRecord {
  readonly of: 'storage';
  readonly key: string;
  /** Absent for an untyped storage, whose tensors name their dtype themselves and whose elements are bytes. */
  readonly dtype: DType | undefined;
  readonly elements: number;
  readonly byteLength: number;
}

/** A strided view of a storage. Offset and strides count elements; the view has been checked to lie in the storage. */
export interface TensorRecord extends PickleRecord {
  readonly of: 'tensor';
  readonly storage: StorageRecord;
  readonly dtype: DType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

const storageTypes: ReadonlyMap<string, DType | undefined> = new Map([
  ['torch DoubleStorage', 'float64'],
  ['torch FloatStorage', 'float32'],
  ['torch HalfStorage', 'float16'],
  ['torch BFloat16Storage', 'bfloat16'],
  ['torch LongStorage', 'int64'],
  ['torch IntStorage', 'int32'],
  ['torch ShortStorage', 'int16'],
  ['torch CharStorage', 'int8'],
  ['torch ByteStorage', 'uint8'],
  ['torch BoolStorage', 'bool'],
  ['torch UntypedStorage', undefined],
  ['torch.storage UntypedStorage', undefined],
]);

const dtypes: ReadonlyMap<string, DType> = new Map(dtypeNames.map((name) => [`torch ${name}`, name]));

/** What stands beside tensors in training's checkpoints (schedulers, arguments): of interest to nobody here, so what each was made of. */
const companions = [
  'collections Counter',
  'torch device',
  ...['set', 'bytearray', 'complex'].flatMap((name) => [`builtins ${name}`, `__builtin__ ${name}`]),
];

const maxRank = 64;

/**
 * What a checkpoint of tensors may name, and the inert records made of it (torch/_utils.py has the Python functions). Storages
 * that a pickle describes are put into `storages`, by key.
 */
export function torchVocabulary(storages: Map<string, StorageRecord>): PickleVocabulary {
  return {
    symbols: new Map<string, ((args: readonly PickleValue[]) => PickleValue) | 'name'>([
      ...[...storageTypes.keys(), ...dtypes.keys()].map((name) => [name, 'name'] as const),
      ['collections OrderedDict', ([pairs]) => createDict(itemsOf(pairs))],
      ['torch Size', ([sizes]) => ({ kind: 'tuple', items: itemsOf(sizes) })],
      ['torch._utils _rebuild_tensor', (args) => createTensor(args, undefined)],
      ['torch._utils _rebuild_tensor_v2', (args) => createTensor(args, undefined, args[6])],
      ['torch._utils _rebuild_tensor_v3', (args) => createTensor(args, args[6], args[7])],
      ['torch._utils _rebuild_parameter', ([data]) => expectTensor(data)],
      ['torch._utils _rebuild_parameter_with_state', ([data]) => expectTensor(data)],
      ...companions.map(
        (name) => [name, (items: readonly PickleValue[]): PickleValue => ({ kind: 'tuple', items })] as const,
      ),
    ]),
    persistent: (id) => declareStorage(storages, id),
  };
}

/** Lists with an element type (torch/jit/_pickle.py): the list itself. */
const typedLists = ['build_intlist', 'build_doublelist', 'build_boollist', 'build_tensorlist', 'restore_type_tag'];

/**
 * The vocabulary of a TorchScript archive's data.pkl: objects of the archive's own classes stand in it as plain attributes. The
 * classes' code is never looked at.
 */
export function scriptVocabulary(): PickleVocabulary {
  const { symbols, persistent } = torchVocabulary(new Map());
  const list = ([items]: readonly PickleValue[]): PickleValue => items ?? null;
  return {
    symbols: new Map([...symbols, ...typedLists.map((name) => [`torch.jit._pickle ${name}`, list] as const)]),
    persistent,
    isClass: (module) => module === '__torch__' || module.startsWith('__torch__.'),
  };
}

const maxModules = 100_000;
const maxModuleDepth = 100;

/** The tensors of a scripted module by their dotted names, as its state_dict() would have them. Throws WeightsError. */
export function moduleTensors(root: PickleObject, where: string): PickleDict {
  const found = createDict();
  let modules = 0;
  const visit = (module: PickleObject, prefix: string, depth: number): void => {
    if (modules++ > maxModules || depth > maxModuleDepth) {
      fail(`${where}: more modules than a model has, or one within itself`);
    }
    for (const [key, value] of module.attributes.entries) {
      const name = `${prefix}${String(key)}`;
      if (found.entries.has(name)) fail(`${where}: two tensors are called ${shown(name)}`);
      if (isTensor(value)) found.entries.set(name, value);
      else if (isPickleObject(value)) visit(value, `${name}.`, depth + 1);
    }
  };
  visit(root, '', 0);
  return found;
}

/** Narrows to a tensor. */
export function isTensor(value: PickleValue | undefined): value is TensorRecord {
  return isKind(value, 'record') && value.of === 'tensor';
}

function isStorage(value: PickleValue | undefined): value is StorageRecord {
  return isKind(value, 'record') && value.of === 'storage';
}

function expectTensor(value: PickleValue | undefined): TensorRecord {
  return isTensor(value) ? value : fail(`expected a tensor, got ${describe(value ?? null)}`);
}

function itemsOf(value: PickleValue | undefined): readonly PickleValue[] {
  if (value === undefined) return [];
  return isKind(value, 'tuple') || isKind(value, 'list')
    ? value.items
    : fail(`expected a list, got ${describe(value)}`);
}

/** ('storage', class, key, location, elements); before torch 1.6 a sixth item says that it is a part of another storage. */
function declareStorage(storages: Map<string, StorageRecord>, id: PickleValue): StorageRecord {
  const [tag, type, key, , count, view] = isKind(id, 'tuple') ? id.items : [];
  if (tag !== 'storage' || typeof key !== 'string' || !isKind(type, 'symbol') || !storageTypes.has(type.name)) {
    fail(`expected the description of a storage, got ${describe(type ?? id)}`);
  }
  if (view !== undefined && view !== null)
    fail('a storage that is part of another storage; save it with torch 1.6 or newer');
  const dtype = storageTypes.get(type.name);
  const elements = isExtent(count) ? count : Number.NaN;
  const byteLength = exactProduct([elements, dtype === undefined ? 1 : itemSize(dtype)]);
  if (byteLength === undefined) fail(`storage ${shown(key)} has an impossible number of elements`);
  const before = storages.get(key);
  if (before !== undefined && (before.dtype !== dtype || before.byteLength !== byteLength)) {
    fail(`storage ${shown(key)} is described twice, differently`);
  }
  const storage = before ?? ({ kind: 'record', of: 'storage', key, dtype, elements, byteLength } as const);
  storages.set(key, storage);
  return storage;
}

/** (storage, offset, size, stride, …); `named` is the dtype that an untyped storage needs, `marks` say what else its values are. */
function createTensor(args: readonly PickleValue[], named: PickleValue | undefined, marks?: PickleValue): TensorRecord {
  const bit = isKind(marks, 'dict') ? ['neg', 'conj'].find((name) => marks.entries.get(name) === true) : undefined;
  if (bit) fail(`a tensor of which the storage has the values before torch's ${bit}; save it after resolve_${bit}()`);
  const [storage, offset] = args;
  if (!isStorage(storage)) fail(`a tensor is made of ${describe(storage ?? null)}, expected a storage`);
  const dtype = isKind(named, 'symbol') ? dtypes.get(named.name) : storage.dtype;
  if (dtype === undefined) fail('a tensor without a dtype that is known here');
  if (!isExtent(offset)) fail('a tensor with an offset that is not a whole number from 0');
  const shape = extentsOf(args[2], 'size');
  const stride = extentsOf(args[3], 'stride');
  if (shape.length !== stride.length || shape.length > maxRank) {
    fail(`a tensor with ${shape.length} sizes and ${stride.length} strides`);
  }
  checkView(storage, dtype, offset, shape, stride);
  return { kind: 'record', of: 'tensor', storage, dtype, offset, shape, stride };
}

function extentsOf(value: PickleValue | undefined, what: string): readonly number[] {
  const items: readonly unknown[] = isKind(value, 'tuple') ? value.items : [undefined];
  if (!items.every(isExtent)) fail(`a tensor with a ${what} that is not a tuple of whole numbers from 0`);
  return items;
}

function checkView(
  storage: StorageRecord,
  dtype: DType,
  offset: number,
  shape: readonly number[],
  stride: readonly number[],
): void {
  const available = Math.floor(storage.byteLength / itemSize(dtype));
  const count = exactProduct(shape) ?? Number.POSITIVE_INFINITY;
  // Strides of 0 could make gigabytes of a few bytes; no weight is larger than its storage.
  if (count > available) {
    fail(`a tensor [${shape}] of ${count} elements over the ${available} elements of storage ${shown(storage.key)}`);
  }
  const end = offset + (count === 0 ? 0 : spanOf(shape, stride));
  if (!(end <= available)) {
    fail(`a tensor [${shape}] that ends at element ${end} of the ${available} of storage ${shown(storage.key)}`);
  }
}

/** Elements from the first to the last of a view that has any. */
export function spanOf(shape: readonly number[], stride: readonly number[]): number {
  return shape.reduce((span, extent, i) => span + (extent - 1) * stride[i], 1);
}

function fail(message: string): never {
  throw new WeightsError(message);
}
