import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { AbortedError, InputError, messageOf, ThreadEndedError } from '../../core/errors.js';
import { createQueue } from '../../core/queue.js';
import type { Tensor } from '../../core/tensor.js';
import type { PictureInfo } from '../../search/picture.js';
import type { Row } from '../../search/store.js';
import type { ImageLimits } from '../images.js';
import type { NodeClipModel } from '../load-clip.js';
import { createWorkerPool, type WorkerPool } from '../worker-pool.js';
import type { FoundPicture } from './find-pictures.js';
import type { UpdatableStore } from './layered-store.js';
import type { PictureJob, PicturePlan, PictureResult, PreparedPicture } from './picture-worker.js';

export interface UpdateOptions {
  /** Threads that decode and resize. Default: the machine's cores, at most 4. */
  readonly workers?: number;
  /** Pictures that go through the model and into the store at once. Default 32. */
  readonly batchSize?: number;
  readonly limits?: ImageLimits;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly failed: number }) => void;
}

/** What became of the pictures. */
export interface UpdateReport {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly unchanged: number;
  /** Those that could not be read: they are not in the index. */
  readonly failed: readonly { readonly path: string; readonly reason: string }[];
}

/** What an update works on. */
export interface Target {
  readonly store: UpdatableStore;
  readonly model: NodeClipModel;
  /** The folder of the pictures. */
  readonly root: string;
  /** What is not found is removed; else it stays. */
  readonly whole: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Pictures in preparation, as multiples of a batch: enough that the model never waits for a slow one. */
const ahead = 3;
/** Pictures that a thread is given at once, at most. */
const mostTogether = 8;
/** One may wait for a decoder. */
const jobsPerThread = 2;

/**
 * Brings `found` pictures of the folder `root` into a store. One whose size and date are as they were is left alone; else its
 * contents are hashed, and only what is new goes through the model. Every batch is safe in the store before the next but one
 * begins, so whatever ends this leaves an index that can be used and gone on with.
 */
export async function updateStore(
  { store, model, root, whole }: Omit<Target, 'signal'>,
  found: readonly FoundPicture[],
  {
    workers = Math.min(4, availableParallelism()),
    batchSize = 32,
    limits = {},
    signal,
    onProgress,
  }: UpdateOptions = {},
): Promise<UpdateReport> {
  for (const [name, value] of Object.entries({ workers, batchSize })) {
    if (!Number.isInteger(value) || value < 1) {
      throw new InputError(`${name}: expected a whole number above 0, got ${value}`);
    }
  }
  const infos = await store.list();
  const known = new Map(infos.map((info) => [info.path, info]));
  const work = found.filter(({ path, size, modified }) => {
    const info = known.get(path);
    return info?.size !== size || info.modified !== modified;
  });
  const pool = createWorkerPool<PictureJob, PictureResult[]>({
    module: new URL('./picture-worker.js', import.meta.url),
    data: { processor: model.processor, limits } satisfies PicturePlan,
    threads: workers,
    jobsPerThread,
    name: 'index',
  });
  const failed: { path: string; reason: string }[] = [];
  const counts = { added: 0, changed: 0 };
  const prepare = createPrepare(root, pool);
  const prepareAgain = async (path: string) => {
    const [result] = await prepare([{ path, known: [] }]);
    if (result instanceof InputError) throw result;
    return result;
  };
  const writer = createWriter({ store, model, root, whole, signal }, infos, prepareAgain);
  try {
    let batch: Ready[] = [];
    let done = 0;
    const window = ahead * batchSize;
    // So that every thread has its next ones: few pictures are shared out evenly, and so are those that are prepared at once.
    const shares = 2 * jobsPerThread * workers;
    const together = Math.min(mostTogether, Math.ceil(work.length / shares), Math.max(1, Math.floor(window / shares)));
    const sizes = { together, window };
    for await (const { picture, result } of prepareAll(prepare, work, bySize(infos), sizes)) {
      if (signal?.aborted) throw new AbortedError('interrupted', { cause: signal.reason });
      if (result instanceof InputError) failed.push({ path: picture.path, reason: messageOf(result) });
      else {
        const ready = readyFrom(picture, result);
        if (batch.length === batchSize || (batch.length > 0 && shapeOf(batch[0]) !== shapeOf(ready))) {
          await writer.write(batch);
          batch = [];
        }
        batch.push(ready);
        const before = known.get(picture.path);
        if (before?.sha256 !== result.sha256) counts[before ? 'changed' : 'added']++;
      }
      onProgress?.({ done: ++done, total: work.length, failed: failed.length });
    }
    await writer.write(batch);
    await writer.finish();
  } finally {
    await writer.settle();
    await pool.dispose();
  }
  const removed = await store.remove(whole ? goneFrom(known, found, failed) : failed.map(({ path }) => path));
  await store.optimize();
  return { ...counts, removed, unchanged: found.length - failed.length - counts.added - counts.changed, failed };
}

/**
 * Pictures of the index that the folder no longer has, or that can no longer be read. Those below a folder that cannot be looked
 * into stay: nobody knows whether they are gone.
 */
function goneFrom(
  known: ReadonlyMap<string, PictureInfo>,
  found: readonly FoundPicture[],
  failed: readonly { readonly path: string }[],
): string[] {
  const there = new Set(found.map(({ path }) => path));
  for (const { path } of failed) there.delete(path);
  const closed = found.filter(({ problem }) => problem !== undefined).map(({ path }) => `${path}/`);
  return [...known.keys()].filter((path) => !there.has(path) && !closed.some((folder) => path.startsWith(folder)));
}

/** Hashes of known contents by size: a file of another size need not be compared. */
function bySize(infos: Iterable<PictureInfo>): ReadonlyMap<number, string[]> {
  const hashes = new Map<number, string[]>();
  for (const { size, sha256 } of infos) {
    const known = hashes.get(size);
    if (known) known.push(sha256);
    else hashes.set(size, [sha256]);
  }
  return hashes;
}

interface Prepared {
  readonly picture: FoundPicture;
  readonly result: PreparedPicture | InputError;
}

/** Of each picture what it became, or why it cannot be read. */
type Prepare = (
  pictures: readonly { readonly path: string; readonly known: readonly string[] }[],
) => Promise<(PreparedPicture | InputError)[]>;

/**
 * A picture that ends its thread takes with it what else the thread works on. So each of those has another turn, and a second one, and
 * no two of them at once: else they would take each other along again.
 */
function createPrepare(root: string, pool: WorkerPool<PictureJob, PictureResult[]>): Prepare {
  const run = async (pictures: Parameters<Prepare>[0]) => {
    const results = await pool.run(pictures.map(({ path, known }) => ({ file: join(root, path), known })));
    return results.map((result) => ('problem' in result ? new InputError(result.problem) : result));
  };
  const inTurn = createQueue();
  const runAlone = async (picture: Parameters<Prepare>[0][number]) => {
    const [result] = (await run([picture]).catch(unlessEnded)) ?? (await run([picture]).catch(unlessEnded)) ?? [];
    return result ?? new InputError(`${join(root, picture.path)}: ended the thread that worked on it`);
  };
  return async (pictures) =>
    (await run(pictures).catch(unlessEnded)) ?? Promise.all(pictures.map((picture) => inTurn(() => runAlone(picture))));
}

function unlessEnded(error: unknown): undefined {
  if (!(error instanceof ThreadEndedError)) throw error;
}

/** Results in order, with `window` pictures in preparation, `together` in each job. */
async function* prepareAll(
  prepare: Prepare,
  pictures: readonly FoundPicture[],
  known: ReadonlyMap<number, string[]>,
  { together, window }: { readonly together: number; readonly window: number },
): AsyncGenerator<Prepared> {
  const start = async (group: readonly FoundPicture[]): Promise<Prepared[]> => {
    const whole = group.filter(({ problem }) => problem === undefined);
    const results = await prepare(whole.map(({ path, size }) => ({ path, known: known.get(size) ?? [] })));
    const resultOf = new Map(whole.map((picture, i) => [picture, results[i]]));
    return group.map((picture) => ({
      picture,
      result: resultOf.get(picture) ?? new InputError(picture.problem ?? ''),
    }));
  };
  const running: Promise<Prepared[]>[] = [];
  for (let first = 0; first < pictures.length; first += together) {
    const next = start(pictures.slice(first, first + together));
    // One that fails is reported when its turn comes.
    next.catch(() => undefined);
    running.push(next);
    if (running.length * together >= window) yield* await (running.shift() as Promise<Prepared[]>);
  }
  for (const next of running) yield* await next;
}

interface Ready {
  readonly info: Pick<PictureInfo, 'path' | 'size' | 'modified' | 'sha256'>;
  readonly result: PreparedPicture;
}

const readyFrom = ({ path }: FoundPicture, result: PreparedPicture): Ready => {
  const { size, modified, sha256 } = result;
  return { info: { path, size, modified, sha256 }, result };
};

/** Pictures of one shape go together; known contents, which have none, by themselves. */
const shapeOf = ({ result }: Ready): string => String(result.picture?.pixels.shape);

/** Batches into the store: one goes through the model while the one before it is written. */
function createWriter(
  { store, model, signal }: Target,
  infos: readonly PictureInfo[],
  prepareAgain: (path: string) => Promise<PreparedPicture>,
) {
  const contents = createContents(infos);
  let writing: Promise<void> = Promise.resolve();
  let embedding: Promise<unknown> = writing;
  const add = async (rows: readonly Row[]) => {
    await store.add(rows);
    for (const { info } of rows) contents.set(info);
  };
  const embed = async (batch: readonly Ready[]): Promise<Row[]> => {
    const pictures = batch.map(({ result }) => result.picture as NonNullable<PreparedPicture['picture']>);
    const embeds = await model.embedPixels(stackPixels(pictures.map(({ pixels }) => pixels)), signal ? { signal } : {});
    const { dimension } = store;
    return batch.map(({ info }, i) => ({
      info: { ...info, width: pictures[i].width, height: pictures[i].height },
      vector: embeds.data.subarray(i * dimension, (i + 1) * dimension),
    }));
  };
  /** Contents that the store has, under this path or another. Where the other was changed since, the picture is read again. */
  const reuse = async (batch: readonly Ready[]): Promise<Row[]> => {
    const rows: Row[] = [];
    for (const { info } of batch) {
      const same = contents.find(info.sha256);
      if (same) {
        const { width, height } = same;
        rows.push({ info: { ...info, width, height }, vector: await store.vectors([same.path]) });
      } else rows.push(...(await embed([{ info, result: await prepareAgain(info.path) }])));
    }
    return rows;
  };
  const write = async (batch: readonly Ready[]) => {
    if (batch.length === 0) return;
    if (!batch[0].result.picture) {
      await writing;
      await add(await reuse(batch));
      return;
    }
    const rows = embed(batch);
    embedding = rows;
    // Whoever waits for the writing hears of what fails.
    rows.catch(() => undefined);
    await writing;
    writing = rows.then(add);
    writing.catch(() => undefined);
  };
  return {
    write,
    finish: () => writing,
    /** Waits for what is under way, whatever becomes of it: afterwards store and model may be closed. */
    settle: async () => {
      await Promise.allSettled([embedding, writing]);
    },
  };
}

/** A picture of the store by its contents, kept up to date while pictures are replaced. */
function createContents(infos: readonly PictureInfo[]) {
  const byPath = new Map(infos.map((info) => [info.path, info]));
  const byHash = new Map(infos.map((info) => [info.sha256, info]));
  return {
    find: (sha256: string) => byHash.get(sha256),
    set: (info: PictureInfo) => {
      const old = byPath.get(info.path);
      if (old && byHash.get(old.sha256)?.path === info.path) byHash.delete(old.sha256);
      byPath.set(info.path, info);
      byHash.set(info.sha256, info);
    },
  };
}

/** [3, H, W] each: [pictures, 3, H, W]. */
function stackPixels(pixels: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const [{ shape, data: first }] = pixels;
  const data = new Float32Array(pixels.length * first.length);
  pixels.forEach((each, i) => {
    data.set(each.data, i * first.length);
  });
  return { dtype: 'float32', shape: [pixels.length, ...shape], data };
}
