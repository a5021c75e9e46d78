import { stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { InputError, LockedError, messageOf } from '../../core/errors.js';
import { createQueue } from '../../core/queue.js';
import type { Runtime } from '../../runtime/runtime.js';
import { type Condition, matcherOf, parseConditions } from '../../search/conditions.js';
import { groupDuplicates } from '../../search/duplicates.js';
import { fuseRankings } from '../../search/fuse.js';
import { createProductKernel } from '../../search/kernel.js';
import type { PictureInfo } from '../../search/picture.js';
import { combineQuery, expectWords, type QueryPart } from '../../search/query.js';
import type { Hit, VectorStore } from '../../search/store.js';
import type { RankedText, WordIndex } from '../../search/words.js';
import { makeDirectoryAtomic, resumable } from '../atomic.js';
import type { ImageInput } from '../images.js';
import type { NodeClipModel } from '../load-clip.js';
import { takeLock } from '../lock.js';
import { createRuntime } from '../ort/runtime.js';
import type { Shard } from '../shard.js';
import { findPictures } from './find-pictures.js';
import { expectIdentity, identityOf } from './identity.js';
import { type IndexManifest, readManifest, writeManifest } from './manifest.js';
import { openStore, type StoreChoice, type StoreTuning } from './open-store.js';
import { countLeft, type PartsPlace, removeParts, takeParts, updateShare } from './parts.js';
import { createTextIndex } from './picture-texts.js';
import { type Target, type UpdateOptions, type UpdateReport, updateStore } from './update-index.js';

export interface OpenIndexOptions extends StoreTuning {
  /** Embeds pictures and queries. Without it vectors and duplicates can still be searched. */
  readonly model?: NodeClipModel;
  /** The folder of the pictures. Makes an index where there is none; for one that is there it must be the same folder. */
  readonly root?: string;
  /** What keeps the vectors of a new index. Default: files. */
  readonly store?: StoreChoice;
}

/** What to look for: everything in it is added up, what `minus` has is taken away. */
export interface SearchQuery {
  readonly text?: string | readonly string[];
  readonly image?: ImageInput | readonly ImageInput[];
  readonly minus?: string | readonly string[];
  /** A unit vector of the model's space. */
  readonly vector?: Float32Array;
}

export interface SearchOptions {
  /** Most hits. Default 10. */
  readonly top?: number;
  /** Conditions on metadata, as text (`size>10000 and path~holiday/*`) or parsed. */
  readonly where?: string | readonly Condition[];
  /** Looks at every vector also where there are lists. Default false. */
  readonly exact?: boolean;
  /** Cut texts that are too long for the model. Default false. */
  readonly truncate?: boolean;
  readonly signal?: AbortSignal;
}

/** A picture found: what is known of it, and where it is. */
export interface SearchHit extends PictureInfo {
  /** The cosine of picture and query; of an index that knows what pictures say, the fused rank's score. */
  readonly score: number;
  readonly file: string;
}

export interface DuplicateOptions {
  /** The cosine from which on pictures are alike. Default 0.95. */
  readonly threshold?: number;
  readonly where?: SearchOptions['where'];
  readonly onProgress?: (done: number) => void;
}

/** Pictures that are alike. */
export interface DuplicateGroup {
  readonly pictures: readonly PictureInfo[];
  /** The lowest cosine of the pairs that brought them together. */
  readonly similarity: number;
}

export interface IndexUpdateOptions extends UpdateOptions {
  /** Which share of the folder is this process's. Default: all of it. */
  readonly shard?: Shard;
}

export interface IndexUpdateReport extends UpdateReport {
  /**
   * Only where this is the report of a share that waits to be put into the index: so many pictures of the folder are left to other
   * processes; 0 where another one is putting all shares into the index now. Without it the report is that of the whole index.
   */
  readonly left?: number;
}

/** Pictures of a folder, searched by their vectors. Many processes may search; one may change it, from its first change on. */
export interface PictureIndex {
  readonly root: string;
  pictures(): Promise<readonly PictureInfo[]>;
  /** Brings all of the folder in, and takes out what is gone from it. Of several processes each does its share. */
  update(options?: IndexUpdateOptions): Promise<IndexUpdateReport>;
  /** Brings these files of the folder in; paths within it or absolute ones. */
  add(paths: readonly string[], options?: UpdateOptions): Promise<UpdateReport>;
  /** Takes pictures out. Returns how many were there. */
  remove(paths: readonly string[]): Promise<number>;
  /** Words, or a query of several parts: hits by falling score. */
  search(query: string | SearchQuery, options?: SearchOptions): Promise<SearchHit[]>;
  duplicates(options?: DuplicateOptions): Promise<DuplicateGroup[]>;
  /** Reads and compiles what searching needs now, and not when it is first asked for. */
  compile(): Promise<void>;
  dispose(): Promise<void>;
}

const lockFile = 'lock';
/** Where several processes keep what they have of a new index, or of what is new in one. */
const partsFolder = 'parts';

/** Where the model of an index was loaded from; undefined where there is no index. */
export const modelOfIndex = (dir: string): string | undefined => readManifest(dir)?.model;

/**
 * Opens the index in `dir`, or with `root` begins one. Throws InputError where the model or its preprocessing is not that which
 * the vectors were made with.
 */
export async function openIndex(dir: string, options: OpenIndexOptions = {}): Promise<PictureIndex> {
  const { model, listsFrom, probes, apiKey } = options;
  const manifest = readManifest(dir) ?? (await beginIndex(dir, options));
  expectRoot(manifest, options, dir);
  if (model) expectIdentity(manifest.identity, await identityOf(model), dir);
  const { dimension } = manifest.identity;
  const runtime = model?.runtime ?? createRuntime();
  const kernel = createProductKernel(runtime, dimension);
  const open = (write: boolean) =>
    openStore(dir, manifest.store, {
      dimension,
      kernel,
      write,
      ...(listsFrom !== undefined && { listsFrom }),
      ...(probes !== undefined && { probes }),
      ...(apiKey !== undefined && { apiKey }),
    });
  const holder = createHolder(await open(false), () => open(true), dir);
  const root = manifest.root;
  const expectModel = (what: string): NodeClipModel => {
    if (model) return model;
    throw new InputError(`${dir}: ${what} needs the model the index was made with: openIndex(dir, { model })`);
  };
  const { store } = holder;
  const texts = createTextIndex(dir);
  const parts = { dir: join(dir, partsFolder), kernel };
  return {
    root,
    pictures: () => store.list(),
    update: async (update) => {
      const target = { store, model: expectModel('adding pictures'), root, whole: true };
      return updateFolder(target, parts, { write: holder.write, openAgain: () => open(false) }, update).catch(
        (error: unknown) => {
          throw resumable(error);
        },
      );
    },
    add: async (paths, update) => {
      const target = { store, model: expectModel('adding pictures'), root, whole: false };
      const found = await Promise.all(paths.map((path) => pictureOf(root, path)));
      await holder.write();
      return updateStore(target, found, update);
    },
    remove: async (paths) => {
      await holder.write();
      const removed = await store.remove(paths.map((path) => pathWithin(root, path)));
      await store.optimize();
      return removed;
    },
    search: async (query, { top = 10, where = [], exact = false, ...run } = {}) => {
      if (!Number.isInteger(top) || top < 1) throw new InputError(`top: expected a whole number above 0, got ${top}`);
      const conditions = conditionsOf(where);
      const vector = await embedQuery(query, expectModel, run, dimension);
      const said = await pathsThatSay(texts, query);
      const hits = await store.search(vector, {
        top: said ? Math.max(top, fusedDepth) : top,
        where: conditions,
        exact,
      });
      const fused = said ? await fuseHits(store, hits, said, conditions) : hits;
      return fused.slice(0, top).map(({ score, info }) => ({ ...info, score, file: join(root, info.path) }));
    },
    duplicates: (asked) => findDuplicates(store, runtime, dimension, asked),
    compile: async () => {
      await texts();
      await store.search(
        Float32Array.from({ length: dimension }, (_, i) => Number(i === 0)),
        {
          top: 1,
          where: [],
          exact: false,
        },
      );
    },
    dispose: async () => {
      await store.dispose();
      await kernel.dispose();
    },
  };
}

async function findDuplicates(
  store: VectorStore,
  runtime: Runtime,
  dimension: number,
  { threshold = 0.95, where = [], onProgress }: DuplicateOptions = {},
): Promise<DuplicateGroup[]> {
  const infos = (await store.list()).filter(matcherOf(conditionsOf(where)));
  const paths = infos.map(({ path }) => path);
  const kernel = createProductKernel(runtime, dimension);
  try {
    const rows = {
      count: paths.length,
      read: (start: number, end: number) => store.vectors(paths.slice(start, end)),
    };
    const groups = await groupDuplicates(kernel, rows, threshold, onProgress);
    return groups.map(({ rows: group, similarity }) => ({ similarity, pictures: group.map((row) => infos[row]) }));
  } finally {
    await kernel.dispose();
  }
}

/** So many of either ranking are fused. */
const fusedDepth = 100;

/** Pictures whose text says what the query says, best first; undefined where the index has no texts or the query no words. */
async function pathsThatSay(
  texts: () => Promise<WordIndex | undefined>,
  query: string | SearchQuery,
): Promise<RankedText[] | undefined> {
  const words = typeof query === 'string' ? query : listOf(query.text).join(' ');
  return words === '' ? undefined : (await texts())?.rank(words, fusedDepth);
}

/** Pictures by what they show and by what they say: one ranking. */
async function fuseHits(
  store: VectorStore,
  hits: readonly Hit[],
  said: readonly RankedText[],
  where: readonly Condition[],
): Promise<Hit[]> {
  const matches = matcherOf(where);
  const wanted = new Set([...said.map(({ id }) => id), ...hits.map(({ info }) => info.path)]);
  const found = (await store.list()).filter((info) => wanted.has(info.path) && matches(info));
  const infos = new Map(found.map((info) => [info.path, info]));
  const known = said.filter(({ id }) => infos.has(id));
  const rankings = [hits.map(({ info }) => info.path), known.map(({ id }) => id)];
  const fused = fuseRankings(rankings, { weights: [1, known.map(({ strength }) => strength)] });
  return fused.map(({ id, score }) => ({ score, info: infos.get(id) as PictureInfo }));
}

/** Brings all of a folder in, or this process's share of it. The last share brings all shares in. */
async function updateFolder(
  target: Omit<Target, 'signal'>,
  parts: PartsPlace,
  index: { readonly write: () => Promise<void>; readonly openAgain: () => Promise<VectorStore> },
  { shard, ...options }: IndexUpdateOptions = {},
): Promise<IndexUpdateReport> {
  const found = await findPictures(target.root);
  if (found.length === 0) await expectNone(target);
  if (shard && shard.size > 1) {
    const report = await updateShare({ ...parts, ...target, shard }, found, options);
    const left = await countLeft(parts, found, index.openAgain);
    if (left > 0 || (await isLocked(index.write))) return { ...report, left };
  } else await index.write();
  const taken = await takeParts(target.store, parts, found);
  const report = await updateStore(target, found, options);
  removeParts(parts);
  const [added, changed] = [report.added + taken.added, report.changed + taken.changed];
  return { ...report, added, changed, unchanged: report.unchanged - taken.added - taken.changed };
}

/** A disk that is not there leaves an empty folder: what took hours to embed does not go with it. */
async function expectNone({ store, root }: Omit<Target, 'signal'>): Promise<void> {
  const { length } = await store.list();
  if (length === 0) return;
  throw new InputError(
    `${root}: has no pictures, the index has ${length} of it: is its disk there? If they are gone, remove the index`,
  );
}

/** Whether another process has the lock that `take` would take. */
async function isLocked(take: () => Promise<void>): Promise<boolean> {
  try {
    await take();
    return false;
  } catch (error) {
    if (error instanceof LockedError) return true;
    throw error;
  }
}

/** Makes an index, unless another process has made it meanwhile. */
async function beginIndex(dir: string, options: OpenIndexOptions): Promise<IndexManifest> {
  try {
    return await createManifest(dir, options);
  } catch (error) {
    const made = readManifest(dir);
    if (made) return made;
    throw error;
  }
}

async function createManifest(dir: string, { model, root, store, apiKey }: OpenIndexOptions): Promise<IndexManifest> {
  if (root === undefined) {
    throw new InputError(`${dir}: there is no index; make one: varyclip index FOLDER --out ${dir}`);
  }
  if (!model) throw new InputError(`${dir}: a new index needs a model`);
  const facts = await stat(root).catch((cause: unknown) => {
    throw new InputError(`${root}: expected a folder of pictures: ${messageOf(cause)}`, { cause });
  });
  if (!facts.isDirectory()) throw new InputError(`${root}: expected a folder of pictures, got a file`);
  const manifest: IndexManifest = {
    identity: await identityOf(model),
    root: resolve(root),
    model: model.source,
    store: store ?? { kind: 'flat' },
  };
  await makeDirectoryAtomic(dir, async (made) => {
    const kernel = createProductKernel(model.runtime, manifest.identity.dimension);
    const begun = await openStore(made, manifest.store, {
      dimension: kernel.dimension,
      kernel,
      write: true,
      ...(apiKey !== undefined && { apiKey }),
    });
    await begun.dispose();
    await kernel.dispose();
    writeManifest(made, manifest);
  });
  return manifest;
}

function expectRoot(manifest: IndexManifest, { root, store }: OpenIndexOptions, dir: string): void {
  if (root !== undefined && resolve(root) !== manifest.root) {
    throw new InputError(
      `${dir}: is an index of ${manifest.root}, not of ${resolve(root)}; name another place with --out`,
    );
  }
  if (store !== undefined && JSON.stringify(store) !== JSON.stringify(manifest.store)) {
    throw new InputError(
      `${dir}: keeps its vectors in ${JSON.stringify(manifest.store)}; to use ${JSON.stringify(store)} make another index`,
    );
  }
}

/** One store after the other behind one face: opened for reading, and again for writing at the first change. */
function createHolder(reading: VectorStore, openForWriting: () => Promise<VectorStore>, dir: string) {
  const enqueue = createQueue();
  let current: VectorStore | undefined = reading;
  let release: (() => void) | undefined;
  /** What stores share, such as memory of a scan, is one call's at a time. */
  const withStore = <T>(task: (store: VectorStore) => Promise<T>): Promise<T> =>
    enqueue(async () => {
      if (!current) throw new InputError(`${dir}: this index was disposed`);
      return task(current);
    });
  const store: VectorStore = {
    dimension: reading.dimension,
    list: () => withStore((open) => open.list()),
    add: (rows) => withStore((open) => open.add(rows)),
    remove: (paths) => withStore((open) => open.remove(paths)),
    vectors: (paths) => withStore((open) => open.vectors(paths)),
    search: (query, options) => withStore((open) => open.search(query, options)),
    optimize: () => withStore((open) => open.optimize()),
    dispose: () =>
      enqueue(async () => {
        await current?.dispose();
        current = undefined;
        release?.();
        release = undefined;
      }),
  };
  return {
    store,
    /** Takes the lock. Throws InputError where another process has it. */
    write: () =>
      withStore(async (open) => {
        if (release) return;
        const path = join(dir, lockFile);
        const unlock = takeLock(path, (owner) => `${dir}: ${owner} is changing this index; wait for it`);
        try {
          current = await openForWriting();
          await open.dispose();
        } catch (error) {
          unlock();
          throw error;
        }
        release = unlock;
      }),
  };
}

/** A path as the index names it. Throws InputError for one outside of the folder. */
function pathWithin(root: string, path: string): string {
  const within = relative(root, resolve(root, path)).split(sep).join('/');
  if (within === '' || within === '..' || within.startsWith('../')) {
    throw new InputError(`${path}: is not within ${root}, the folder of this index`);
  }
  return within;
}

async function pictureOf(root: string, given: string) {
  const path = pathWithin(root, given);
  const facts = await stat(join(root, path)).catch((cause: unknown) => {
    throw new InputError(`${join(root, path)}: cannot be read: ${messageOf(cause)}`, { cause });
  });
  return { path, size: facts.size, modified: Math.trunc(facts.mtimeMs) };
}

const conditionsOf = (where: string | readonly Condition[]): readonly Condition[] =>
  typeof where === 'string' ? parseConditions(where) : where;

const listOf = <T>(value: T | readonly T[] | undefined): readonly T[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

async function embedQuery(
  query: string | SearchQuery,
  expectModel: (what: string) => NodeClipModel,
  { truncate = false, signal }: Pick<SearchOptions, 'truncate' | 'signal'>,
  dimension: number,
): Promise<Float32Array> {
  const { text, image, minus, vector } = typeof query === 'string' ? { text: query } : (query as SearchQuery);
  const [plus, less, images] = [listOf(text).map((t) => expectWords(t)), listOf(minus), listOf(image)];
  const words = [...plus, ...less.map((t) => expectWords(t, 'minus'))];
  const parts: QueryPart[] = [];
  if (vector) {
    if (vector.length !== dimension) {
      throw new InputError(`search: vector: expected ${dimension} numbers, got ${vector.length}`);
    }
    parts.push({ vector, sign: 1 });
  }
  const run = signal ? { signal } : {};
  const rows = (data: Float32Array, i: number) => data.subarray(i * dimension, (i + 1) * dimension);
  if (words.length > 0) {
    const { data } = await expectModel('searching by words').embedTexts(words, { truncate, ...run });
    words.forEach((_, i) => {
      parts.push({ vector: rows(data, i), sign: i < plus.length ? 1 : -1 });
    });
  }
  if (images.length > 0) {
    const { data } = await expectModel('searching by an image').embedImages(images, run);
    images.forEach((_, i) => {
      parts.push({ vector: rows(data, i), sign: 1 });
    });
  }
  return combineQuery(parts);
}
