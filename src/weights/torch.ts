/** Files of torch.save (torch/serialization.py): zip archives, and the layout before torch 1.6. Nothing in them is run. */
import { WeightsError } from '../core/errors.js';
import { type Checkpoint, expectEntry } from './checkpoint.js';
import { describe, isKind, isPickleObject, type PickleDict, type PickleValue, readPickle } from './pickle.js';
import { type ByteSource, decodeUtf8, readBytes, shown, uint64At, viewOf } from './source.js';
import {
  isTensor,
  moduleTensors,
  type StorageRecord,
  scriptVocabulary,
  type TensorRecord,
  torchVocabulary,
} from './torch-records.js';
import { readView } from './torch-view.js';
import { checkCrc, locateMember, readMember, readZip, type ZipMember } from './zip.js';

/** Both layouts come down to this: an object, and where the storages of its tensors are. */
interface Layout {
  readonly root: PickleValue;
  /** Throws WeightsError for a storage that the file does not have, or has in another size. */
  find(storage: StorageRecord): StoredBytes;
}

interface StoredBytes {
  /** The first byte's place in the file. */
  locate(): Promise<number>;
  /** Throws WeightsError where the bytes of the whole storage are damaged. */
  check(bytes: Uint8Array): void;
}

const maxPickleBytes = 32 << 20;
const highestVersion = 10;
const legacyMagic = 0x1950a86a20f9469cfc6cn;
const legacyProtocol = 1001;
/** Where training programs put the weights beside their other state. */
const nestedKeys = ['model', 'state_dict', 'model_state_dict'];

/**
 * Opens a file of torch.save (`pytorch_model.bin`, `.pt`, `.pth`), or the tensors of one of torch.jit.save. Nothing in it is executed: a file that names anything but tensors
 * and plain containers is refused. Its tensors are the dict itself, or the one dict of tensors under `model`, `state_dict` or
 * `model_state_dict`. Throws WeightsError.
 */
export async function openTorch(source: ByteSource): Promise<Checkpoint> {
  const isZip = await startsWith(source, [0x50, 0x4b]);
  const layout = isZip ? await readZipLayout(source) : await readLegacyLayout(source);
  const tensors = tensorsOf(findStateDict(layout.root, source), source);
  for (const { storage } of tensors.values()) layout.find(storage);
  return {
    name: source.name,
    names: [...tensors.keys()],
    metadata: new Map(),
    info: (name) => {
      const { dtype, shape } = expectEntry(tensors, name, source.name);
      return { dtype, shape };
    },
    read: async (name) => {
      const tensor = expectEntry(tensors, name, source.name);
      const { locate, check } = layout.find(tensor.storage);
      return readView(source, name, tensor, await locate(), check);
    },
    dispose: () => source.dispose?.(),
  };
}

async function startsWith(source: ByteSource, magic: readonly number[]): Promise<boolean> {
  if (source.size < magic.length) return false;
  const bytes = await readBytes(source, 0, magic.length, 'the first bytes');
  return magic.every((byte, i) => bytes[i] === byte);
}

async function readZipLayout(source: ByteSource): Promise<Layout> {
  const members = await readZip(source);
  const folder = findFolder(source, members);
  await checkVersion(source, members.get(`${folder}/version`));
  await checkByteOrder(source, members.get(`${folder}/byteorder`));
  const pickle = await readMember(source, members.get(`${folder}/data.pkl`)!, maxPickleBytes);
  // torch.jit.save: the module's attributes are read as data, its program (code/, constants.pkl) is not looked at.
  const isScript = members.has(`${folder}/constants.pkl`);
  const vocabulary = isScript ? scriptVocabulary() : torchVocabulary(new Map());
  const { value, end } = readPickle(pickle, 0, vocabulary, source.name);
  if (end !== pickle.length) fail(source, `expected the pickle to end at byte ${pickle.length}, it ends at ${end}`);
  const root = isPickleObject(value) ? moduleTensors(value, source.name) : value;
  return { root, find: (storage) => findMember(source, members.get(`${folder}/data/${storage.key}`), storage) };
}

/** The archive's one folder, which is named after the file it was saved to. */
function findFolder(source: ByteSource, members: ReadonlyMap<string, ZipMember>): string {
  const folders = [...members.keys()].flatMap((name) => /^([^/]+)\/data\.pkl$/.exec(name)?.[1] ?? []);
  if (folders.length !== 1) {
    fail(source, `expected one data.pkl in the archive, got ${folders.length}; torch.save did not write it`);
  }
  return folders[0];
}

function findMember(source: ByteSource, member: ZipMember | undefined, storage: StorageRecord): StoredBytes {
  if (member?.size !== storage.byteLength) {
    const got = member === undefined ? 'none' : `${member.size} bytes`;
    fail(source, `expected ${storage.byteLength} bytes of storage ${shown(storage.key)} in the archive, got ${got}`);
  }
  return {
    locate: async () => (await locateMember(source, member)).offset,
    check: (bytes) => checkCrc(source, member, bytes),
  };
}

async function checkVersion(source: ByteSource, member: ZipMember | undefined): Promise<void> {
  if (member === undefined) return;
  const version = decodeUtf8(await readMember(source, member, 16), source.name).trim();
  if (!/^\d{1,3}$/.test(version) || Number(version) > highestVersion) {
    fail(source, `expected archive version ${highestVersion} or lower, got ${shown(version)}`);
  }
}

async function checkByteOrder(source: ByteSource, member: ZipMember | undefined): Promise<void> {
  if (member === undefined) return;
  const order = decodeUtf8(await readMember(source, member, 16), source.name).trim();
  if (order !== 'little')
    fail(source, `expected little-endian data, got ${shown(order)}; save the file on another machine`);
}

/** Five pickles (magic, protocol, system, object, storage keys), then per key the number of elements and the data. */
async function readLegacyLayout(source: ByteSource): Promise<Layout> {
  if (!(await startsWith(source, [0x80]))) fail(source, 'expected a zip archive or a pickle as torch.save writes them');
  const head = await readBytes(source, 0, Math.min(source.size, maxPickleBytes), 'the pickles');
  const storages = new Map<string, StorageRecord>();
  const vocabulary = torchVocabulary(storages);
  let at = 0;
  const next = (): PickleValue => {
    const { value, end } = readPickle(head, at, vocabulary, source.name);
    at = end;
    return value;
  };
  if (next() !== legacyMagic) fail(source, 'expected the magic number of torch.save, got another pickle');
  if (next() !== legacyProtocol) fail(source, `expected protocol ${legacyProtocol} of the layout before torch 1.6`);
  const system = next();
  if (!isKind(system, 'dict') || system.entries.get('little_endian') !== true) {
    fail(source, 'expected little-endian data; save the file on another machine');
  }
  const root = next();
  const keys = next();
  if (!isKind(keys, 'list')) fail(source, `expected a list of storages, got ${describe(keys)}`);
  const places = await placeStorages(source, at, keys.items, storages);
  const placeOf = (key: string) => places.get(key) ?? fail(source, `storage ${shown(key)} is not in the file`);
  return { root, find: ({ key }) => placed(placeOf(key)) };
}

async function placeStorages(
  source: ByteSource,
  start: number,
  keys: readonly PickleValue[],
  storages: ReadonlyMap<string, StorageRecord>,
): Promise<ReadonlyMap<string, number>> {
  const places = new Map<string, number>();
  let at = start;
  for (const key of keys) {
    const storage = typeof key === 'string' && !places.has(key) ? storages.get(key) : undefined;
    if (storage === undefined) fail(source, 'the list of storages names one twice, or one that no tensor uses');
    const elements = uint64At(viewOf(await readBytes(source, at, 8, 'a storage size')), 0);
    if (elements !== storage.elements)
      fail(source, `expected ${storage.elements} elements in a storage, got ${elements}`);
    places.set(storage.key, at + 8);
    at += 8 + storage.byteLength;
  }
  if (at !== source.size) fail(source, `expected the data to end at byte ${at}, the file has ${source.size}`);
  return places;
}

/** The layout before torch 1.6 has no checksums. */
function placed(offset: number): StoredBytes {
  return { locate: async () => offset, check: () => undefined };
}

function findStateDict(root: PickleValue, source: ByteSource): PickleDict {
  if (!isKind(root, 'dict')) fail(source, `expected a dict of tensors, got ${describe(root)}`);
  const nested = nestedKeys
    .map((key) => root.entries.get(key))
    .filter((value): value is PickleDict => isKind(value, 'dict') && hasTensors(value));
  if (nested.length > 1) {
    fail(source, `expected tensors under one of ${nestedKeys.join(', ')}, got several; save only the weights`);
  }
  const dict = nested[0] ?? root;
  if (hasTensors(dict) || dict.entries.size === 0) return dict;
  const keys = [...dict.entries.keys()].slice(0, 5).map((key) => shown(String(key)));
  return fail(source, `expected a dict of tensors, got one with the keys ${keys.join(', ')}`);
}

function hasTensors(dict: PickleDict): boolean {
  return [...dict.entries.values()].some(isTensor);
}

/** The tensors of a state dict; counters and versions that some modules keep beside them are left out. */
function tensorsOf(dict: PickleDict, source: ByteSource): ReadonlyMap<string, TensorRecord> {
  const tensors = new Map<string, TensorRecord>();
  for (const [name, value] of dict.entries) {
    if (!isTensor(value)) continue;
    if (typeof name !== 'string') fail(source, `expected tensors to have names, got the key ${shown(String(name))}`);
    tensors.set(name, value);
  }
  return tensors;
}

function fail(source: ByteSource, message: string): never {
  throw new WeightsError(`${source.name}: ${message}`);
}
