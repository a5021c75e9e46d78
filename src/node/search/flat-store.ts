import { join } from 'node:path';
import { InputError } from '../../core/errors.js';
import { createQueue } from '../../core/queue.js';
import { matcherOf } from '../../search/conditions.js';
import type { ProductKernel } from '../../search/kernel.js';
import { dot } from '../../search/lists.js';
import type { PictureInfo } from '../../search/picture.js';
import type { Hit, Row, VectorStore } from '../../search/store.js';
import { createTop, type TopScores } from '../../search/top.js';
import { createPauses } from '../pauses.js';
import {
  type AppendCalls,
  appendLog,
  appendVectors,
  closeFiles,
  compactFiles,
  type Files,
  listsName,
  type OpenFiles,
  openFiles,
  readVectors,
  writeFiles,
} from './flat-files.js';
import { type Lists, writeLists } from './lists-file.js';
import { removedLine, rowLine } from './picture-log.js';
import { createScan, type Scan } from './scan.js';

export interface FlatStoreOptions {
  readonly dimension: number;
  readonly kernel: ProductKernel;
  /** Without it nothing is changed, and several processes may read. */
  readonly write: boolean;
  /** Pictures from which on lists are made; with fewer every vector is looked at. Default 50,000. */
  readonly listsFrom?: number;
  /** Lists looked into by a search. Default 32. */
  readonly probes?: number;
  /** Default: node:fs. */
  readonly calls?: AppendCalls;
}

/** Hits that bytes find for each that is wanted; their vectors then decide. */
const rescored = 4;

/** Opens the store in a directory, or begins one. One process may write; its caller holds the lock. */
export function openFlatStore(dir: string, options: FlatStoreOptions): VectorStore {
  const { dimension, kernel, write, listsFrom = 50_000, probes = 32, calls } = options;
  let files = openFiles(dir, dimension, write, calls);
  const scanFrom = (first: number) => createScan(kernel, first, (start, end) => readVectors(files, start, end));
  const createScans = (): Scans => ({ all: scanFrom(0), rest: scanFrom(files.files.covered) });
  let scans = createScans();
  // What is appended has its place when it begins: one change after the other.
  const inTurn = createQueue();
  let disposed = false;
  const expectWriting = () => {
    // Its files' numbers may be those of others by now.
    if (disposed) throw new InputError(`${dir}: was closed`);
    if (!write) throw new InputError(`${dir}: was opened for reading; open it for writing to change it`);
  };
  const goOnWith = (next: Files) => {
    writeFiles(dir, next);
    closeFiles(files);
    files = openFiles(dir, dimension, write, calls);
    scans = createScans();
  };
  return {
    dimension,
    list: async () => [...files.rowOf.values()].map((row) => files.infos[row] as PictureInfo),
    add: (rows) =>
      inTurn(async () => {
        expectWriting();
        await addRows(files, rows);
      }),
    remove: (paths) =>
      inTurn(async () => {
        expectWriting();
        return removeRows(files, paths);
      }),
    vectors: async (paths) => {
      const out = new Float32Array(paths.length * dimension);
      paths.forEach((path, i) => {
        const row = files.rowOf.get(path);
        if (row === undefined) throw new InputError(`${dir}: has no picture ${path}`);
        out.set(readVectors(files, row, row + 1), i * dimension);
      });
      return out;
    },
    search: async (query, { top, where, exact }) => {
      const matches = matcherOf(where);
      const { infos } = files;
      const accept = (row: number) => infos[row] !== undefined && matches(infos[row]);
      return search(files, scans, query, { top, probes: exact ? 0 : probes, accept });
    },
    optimize: () =>
      inTurn(async () => {
        expectWriting();
        const { generation } = files.files;
        const wasted = files.infos.length - files.rowOf.size;
        if (wasted > Math.max(1000, files.infos.length / 4)) {
          const next: Files = { generation: generation + 1, covered: 0 };
          compactFiles(files, next);
          goOnWith(next);
        }
        const count = files.infos.length;
        const { covered } = files.files;
        if (files.rowOf.size < listsFrom || count - covered <= covered / 4) return;
        const next: Files = { ...files.files, covered: count };
        const isLive = (row: number) => files.infos[row] !== undefined;
        const rows = { count, isLive, read: (start: number, end: number) => readVectors(files, start, end) };
        await writeLists(join(dir, listsName(next)), rows, kernel);
        goOnWith(next);
      }),
    dispose: () =>
      inTurn(async () => {
        if (!disposed) closeFiles(files);
        disposed = true;
      }),
  };
}

async function addRows(files: OpenFiles, rows: readonly Row[]): Promise<void> {
  checkRows(rows, files.dimension);
  if (rows.length === 0) return;
  const { infos, rowOf } = files;
  await appendVectors(
    files,
    rows.map(({ vector }) => vector),
  );
  await appendLog(
    files,
    rows.map(({ info }, i) => rowLine(infos.length + i, info)),
  );
  for (const { info } of rows) {
    const old = rowOf.get(info.path);
    if (old !== undefined) infos[old] = undefined;
    rowOf.set(info.path, infos.length);
    infos.push(info);
  }
}

async function removeRows(files: OpenFiles, paths: readonly string[]): Promise<number> {
  const { infos, rowOf } = files;
  const known = [...new Set(paths)].filter((path) => rowOf.has(path));
  if (known.length > 0) await appendLog(files, known.map(removedLine));
  for (const path of known) {
    infos[rowOf.get(path) as number] = undefined;
    rowOf.delete(path);
  }
  return known.length;
}

/** Throws InputError for a vector of another length, or one that is not of unit length. */
export function checkRows(rows: readonly Row[], dimension: number): void {
  for (const { info, vector } of rows) {
    const squares = dot(vector, vector);
    if (vector.length === dimension && Math.abs(squares - 1) < 1e-3) continue;
    throw new InputError(
      `${info.path}: expected a unit vector of ${dimension}, got ${vector.length} numbers of length ${Math.sqrt(squares)}`,
    );
  }
}

interface RowQuery {
  readonly top: number;
  /** Lists looked into; 0 looks at every vector. */
  readonly probes: number;
  readonly accept: (row: number) => boolean;
}

/** Scans of every vector, and of those that no list covers. */
interface Scans {
  readonly all: Scan;
  readonly rest: Scan;
}

/** What the lists cover is found through them, the rest by looking at it. */
async function search(files: OpenFiles, { all, rest }: Scans, query: Float32Array, asked: RowQuery): Promise<Hit[]> {
  const { infos, lists } = files;
  const best = createTop(asked.top);
  if (lists && asked.probes > 0) {
    await searchLists(lists, query, asked, (row) => readVectors(files, row, row + 1), best);
    await rest.search(query, infos.length, asked.accept, best);
  } else await all.search(query, infos.length, asked.accept, best);
  return best.sorted().map(({ score, row }) => ({ score, info: infos[row] as PictureInfo }));
}

/** Goes through the nearest lists, and through more where conditions leave too few; vectors decide among what bytes found. */
async function searchLists(
  lists: Lists,
  query: Float32Array,
  { top, probes, accept }: RowQuery,
  read: (row: number) => Float32Array,
  best: TopScores,
): Promise<void> {
  const pause = createPauses();
  const wanted = Math.max(top * rescored, 100);
  const found = createTop(wanted);
  const order = lists.nearest(query);
  let [accepted, done] = [0, 0];
  const counting = (row: number) => {
    const ok = accept(row);
    if (ok) accepted++;
    return ok;
  };
  for (const list of order) {
    if (done >= probes && accepted >= top) break;
    lists.search(query, list, counting, found);
    await pause();
    done++;
  }
  for (const { row } of found.sorted()) best.offer(dot(query, read(row)), row);
}
