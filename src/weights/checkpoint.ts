import type { DType } from '../core/dtype.js';
import { WeightsError } from '../core/errors.js';
import { type Tensor, toFloat32 } from '../core/tensor.js';
import { type ByteSource, readText, shown } from './source.js';
import { isJsonObject, type JsonValue, parseStrictJson } from './strict-json.js';

export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Named tensors in one file or several. Names, dtypes and shapes are known; the data is read when asked for. */
export interface Checkpoint {
  /** What error messages call it. */
  readonly name: string;
  readonly names: readonly string[];
  /** Free text the file carries beside its tensors; empty for formats without any. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Throws WeightsError for a name it does not have. */
  info(name: string): TensorInfo;
  /** The tensor in the dtype it is stored in. Throws WeightsError where the name or the data is wrong. */
  read(name: string): Promise<Tensor>;
  /** Closes the files it holds open; nothing can be read afterwards. */
  dispose(): void;
}

/** A tensor of a checkpoint as float32; half types are widened exactly. Throws WeightsError for integer tensors. */
export async function readFloat32(checkpoint: Checkpoint, name: string): Promise<Tensor<'float32'>> {
  const { dtype } = checkpoint.info(name);
  if (!isFloat(dtype)) {
    throw new WeightsError(`${checkpoint.name}: ${shown(name)}: expected a floating-point tensor, got ${dtype}`);
  }
  return toFloat32(await checkpoint.read(name), name);
}

/** Whether a dtype can be read as float32. */
export function isFloat(dtype: DType): boolean {
  return dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' || dtype === 'float64';
}

/** An entry of a checkpoint's table. Throws WeightsError for a name that is not there. */
export function expectEntry<T>(table: ReadonlyMap<string, T>, name: string, where: string): T {
  const entry = table.get(name);
  if (entry === undefined) throw new WeightsError(`${where}: no tensor is called ${shown(name)}`);
  return entry;
}

const maxIndexBytes = 64 << 20;
const maxShards = 10_000;

/**
 * Reads the `weight_map` of a `*.index.json` (the sharded layout of Hugging Face checkpoints): tensor name → file name.
 * Throws WeightsError for a file name that is anything but the plain name of a file beside the index.
 */
export async function readShardIndex(source: ByteSource): Promise<ReadonlyMap<string, string>> {
  const index = parseStrictJson(await readText(source, maxIndexBytes), source.name);
  const map = isJsonObject(index) ? index.get('weight_map') : undefined;
  if (!isJsonObject(map)) {
    throw new WeightsError(`${source.name}: expected an object with "weight_map", tensor names to file names`);
  }
  return new Map([...map].map(([name, file]) => [name, expectPlainFileName(file, `${source.name}: ${shown(name)}`)]));
}

/** Throws WeightsError unless `value` names a file in the same directory and could name nothing else on any system. */
function expectPlainFileName(value: JsonValue, where: string): string {
  const plain = typeof value === 'string' && /^[A-Za-z0-9_][A-Za-z0-9._ +=@-]*$/.test(value) && value.length <= 255;
  if (plain) return value;
  const got = typeof value === 'string' ? shown(value) : typeof value;
  throw new WeightsError(`${where}: expected the plain name of a file beside the index, got ${got}`);
}

/**
 * The tensors that an index names, in the shards it names. `openShard` opens a file beside the index. Throws WeightsError
 * where a shard cannot be opened or lacks a tensor that the index maps to it; what was opened is closed again.
 */
export async function openSharded(
  indexSource: ByteSource,
  openShard: (fileName: string) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  const index = await readShardIndex(indexSource);
  const fileNames = [...new Set(index.values())];
  if (fileNames.length > maxShards) {
    throw new WeightsError(`${indexSource.name}: expected at most ${maxShards} shards, got ${fileNames.length}`);
  }
  const shards = new Map<string, Checkpoint>();
  const dispose = () => shards.forEach((shard) => void shard.dispose());
  try {
    for (const fileName of fileNames) shards.set(fileName, await openShard(fileName));
    return { ...joinShards(indexSource.name, index, shards), dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

function joinShards(
  where: string,
  index: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, Checkpoint>,
): Omit<Checkpoint, 'dispose'> {
  const owners = new Map([...index].map(([name, fileName]) => [name, shards.get(fileName)!]));
  checkShards(where, index, shards);
  return {
    name: where,
    names: [...index.keys()],
    metadata: new Map([...shards.values()].flatMap((shard) => [...shard.metadata])),
    info: (name) => expectEntry(owners, name, where).info(name),
    read: async (name) => expectEntry(owners, name, where).read(name),
  };
}

function checkShards(where: string, index: ReadonlyMap<string, string>, shards: ReadonlyMap<string, Checkpoint>): void {
  const held = new Map([...shards].map(([fileName, shard]) => [fileName, new Set(shard.names)]));
  for (const [name, fileName] of index) {
    if (!held.get(fileName)?.has(name)) {
      throw new WeightsError(
        `${where}: ${shown(name)} should be in ${fileName}, which does not have it; are the shards mixed up?`,
      );
    }
  }
}
