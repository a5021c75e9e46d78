/**
 * An index that several processes make together. Each keeps the vectors of its share in a part of its own, `parts/RANK`, a store of
 * files; no process waits for another. Whoever ends last finds every picture in the index or in a part and puts the parts into the
 * index. What a process that died has in its part counts; the rest of its share is another run's.
 */
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LockedError } from '../../core/errors.js';
import type { ProductKernel } from '../../search/kernel.js';
import type { Row, VectorStore } from '../../search/store.js';
import { makeDirectoryAtomic, writeTextAtomic } from '../atomic.js';
import { directoryExists, readJson } from '../files.js';
import type { NodeClipModel } from '../load-clip.js';
import { takeLock } from '../lock.js';
import { makeDirectory } from '../place.js';
import type { Shard } from '../shard.js';
import type { FoundPicture } from './find-pictures.js';
import { openFlatStore } from './flat-store.js';
import { layerStores, type UpdatableStore } from './layered-store.js';
import { type UpdateOptions, type UpdateReport, updateStore } from './update-index.js';

/** Where parts are, and what their vectors are like. */
export interface PartsPlace {
  readonly dir: string;
  readonly kernel: ProductKernel;
}

interface Part {
  readonly path: string;
  readonly store: VectorStore;
  /** Pictures that could not be read. */
  readonly failed: readonly FoundPicture[];
}

const failedFile = 'failed.json';
const lockFile = 'lock';

/** Nothing is searched in a part: it needs no lists. */
const storeIn = (path: string, kernel: ProductKernel, write: boolean): VectorStore =>
  openFlatStore(path, { dimension: kernel.dimension, kernel, write, listsFrom: Number.POSITIVE_INFINITY });

/** Parts that are there, opened for reading. */
function openParts({ dir, kernel }: PartsPlace): Part[] {
  if (!directoryExists(dir)) return [];
  const names = readdirSync(dir).filter((name) => /^\d+$/.test(name));
  return names.sort().flatMap((name) => {
    const path = join(dir, name);
    try {
      return [
        { path, store: storeIn(path, kernel, false), failed: (readJson(path, failedFile) ?? []) as FoundPicture[] },
      ];
    } catch (error) {
      // Whoever puts the parts into the index takes them away.
      if (!directoryExists(path)) return [];
      throw error;
    }
  });
}

async function withParts<T>(place: PartsPlace, task: (parts: readonly Part[]) => Promise<T>): Promise<T> {
  const parts = openParts(place);
  try {
    return await task(parts);
  } finally {
    for (const { store } of parts) await store.dispose();
  }
}

const isSame = (a: FoundPicture | undefined, b: FoundPicture): boolean =>
  a?.size === b.size && a.modified === b.modified;

export interface ShareTarget extends PartsPlace {
  /** The index. It is not changed. */
  readonly store: UpdatableStore;
  readonly model: NodeClipModel;
  /** The folder of the pictures. */
  readonly root: string;
  readonly shard: Shard;
}

/** Brings this process's share of `found` into its part. Throws LockedError where another process has that part. */
export async function updateShare(
  { store: index, model, root, shard, ...place }: ShareTarget,
  found: readonly FoundPicture[],
  options: UpdateOptions,
): Promise<UpdateReport> {
  const own = join(place.dir, String(shard.rank));
  makeDirectory(place.dir);
  if (!existsSync(own)) {
    // All at once, since others read parts at any time.
    await makeDirectoryAtomic(own, (made) => storeIn(made, place.kernel, true).dispose());
  }
  const lock = join(own, lockFile);
  const unlock = takeLock(lock, (owner) => `${own}: ${owner} works on this share; wait for it`);
  try {
    return await withParts(place, async (parts) => {
      const others = parts.filter(({ path }) => path !== own);
      const part = storeIn(own, place.kernel, true);
      try {
        const store = layerStores([index, ...others.map((other) => other.store), part]);
        const mine = found.filter((_, i) => i % shard.size === shard.rank);
        const report = await updateStore({ store, model, root, whole: false }, mine, options);
        const paths = new Set(report.failed.map(({ path }) => path));
        const failed = mine.filter(({ path }) => paths.has(path));
        writeTextAtomic(join(own, failedFile), `${JSON.stringify(failed)}\n`);
        return report;
      } finally {
        await part.dispose();
      }
    });
  } finally {
    unlock();
  }
}

/** How many of `found` no process has settled yet: they are in no part and not in the index, and none could not read them. */
export async function countLeft(
  place: PartsPlace,
  found: readonly FoundPicture[],
  openIndexStore: () => Promise<VectorStore>,
): Promise<number> {
  return withParts(place, async (parts) => {
    // After the parts: what is taken out of them meanwhile is in the index by then.
    const index = await openIndexStore();
    try {
      const lists = [await index.list(), ...parts.map(({ failed }) => failed)];
      for (const { store } of parts) lists.push(await store.list());
      const now = new Map(found.map((picture) => [picture.path, picture]));
      for (const picture of lists.flat()) if (isSame(now.get(picture.path), picture)) now.delete(picture.path);
      return now.size;
    } finally {
      await index.dispose();
    }
  });
}

/** Rows that are added at once. */
const batchSize = 256;

/**
 * Takes into `store` what the parts have of `found` and it has not, in the order of `found`. Returns how many are new, and of how
 * many the contents changed.
 */
export async function takeParts(
  store: UpdatableStore,
  place: PartsPlace,
  found: readonly FoundPicture[],
): Promise<{ readonly added: number; readonly changed: number }> {
  return withParts(place, async (parts) => {
    const known = new Map((await store.list()).map((info) => [info.path, info]));
    const now = new Map(found.map((picture) => [picture.path, picture]));
    const made = new Map<string, Omit<Row, 'vector'> & { readonly from: VectorStore }>();
    for (const { store: from } of parts) {
      // Of what was changed since, another part may have the newer.
      for (const info of await from.list()) if (isSame(now.get(info.path), info)) made.set(info.path, { info, from });
    }
    const counts = { added: 0, changed: 0 };
    let batch: Row[] = [];
    for (const picture of found) {
      const [before, row] = [known.get(picture.path), made.get(picture.path)];
      if (!row || isSame(before, picture)) continue;
      batch.push({ info: row.info, vector: await row.from.vectors([picture.path]) });
      if (before?.sha256 !== row.info.sha256) counts[before ? 'changed' : 'added']++;
      if (batch.length < batchSize) continue;
      await store.add(batch);
      batch = [];
    }
    await store.add(batch);
    return counts;
  });
}

/** Removes the parts that no process works on. */
export function removeParts({ dir }: PartsPlace): void {
  if (!directoryExists(dir)) return;
  for (const name of readdirSync(dir)) {
    const part = join(dir, name);
    try {
      takeLock(join(part, lockFile), (owner) => `${part}: ${owner} works on it`);
    } catch (error) {
      if (!(error instanceof LockedError)) throw error;
      continue;
    }
    rmSync(part, { recursive: true, force: true });
  }
  if (readdirSync(dir).length === 0) rmdirSync(dir);
}
