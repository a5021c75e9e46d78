/** The file with an index's lists: a header, the centres, and list after list the rows, their factors and their bytes. */
import nodeFs, { closeSync, fstatSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { bytesOf, viewBytes } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import { asObject, countField } from '../../core/json.js';
import { createRng } from '../../core/rng.js';
import type { ProductKernel } from '../../search/kernel.js';
import { createAssign, dot, findCentres, listCount, quantizeVector, scoreCodes } from '../../search/lists.js';
import type { TopScores } from '../../search/top.js';
import { readRange } from '../files.js';
import { temporaryName } from '../process-identity.js';

/** Rows of a store, by number. */
export interface VectorRows {
  readonly count: number;
  /** Vectors of rows [start, end). */
  read(start: number, end: number): Float32Array;
  isLive(row: number): boolean;
}

/** Lists that are open for searching. */
export interface Lists {
  /** Rows [0, covered) of the store are in the lists. */
  readonly covered: number;
  /** How many lists there are. */
  readonly count: number;
  /** The lists by the nearness of their centres to the query. */
  nearest(query: Float32Array): Uint32Array;
  /** Offers the accepted rows of one list, with scores that bytes give. */
  search(query: Float32Array, list: number, accept: (row: number) => boolean, top: TopScores): void;
  dispose(): void;
}

const magic = 'varyclip lists 1';
const headerBytes = 256;
/** Vectors read, assigned and written at once. */
const chunk = 4096;
const sampleOf = 64;

/** Writes the lists of all live rows. */
export async function writeLists(path: string, rows: VectorRows, kernel: ProductKernel): Promise<void> {
  const { dimension } = kernel;
  const live = liveCount(rows);
  const lists = listCount(live);
  const rng = createRng(live, dimension);
  const centres = await findCentres(kernel, sampleRows(rows, dimension, live, lists * sampleOf), { lists, rng, chunk });
  const assigned = await assignRows(rows, kernel, centres);
  const starts = new Uint32Array(lists + 1);
  for (const list of assigned) if (list < lists) starts[list + 1]++;
  for (let list = 0; list < lists; list++) starts[list + 1] += starts[list];
  const temporary = temporaryName(path);
  try {
    writeParts(temporary, (write) => {
      const header = JSON.stringify({ magic, dimension, lists, live, covered: rows.count }).padEnd(headerBytes);
      const layout = layoutOf(dimension, lists, live);
      write(new TextEncoder().encode(header), 0);
      write(bytesOf(centres), layout.centres);
      write(bytesOf(starts), layout.starts);
      writeCodes(rows, assigned, starts, layout, dimension, write);
    });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

type Write = (bytes: Uint8Array, at: number) => void;

/** A new file, written in parts in any order, that is on the disk when this returns. */
function writeParts(path: string, task: (write: Write) => void): void {
  const handle = openSync(path, 'w');
  try {
    task((bytes, at) => writeAt(handle, bytes, at));
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function liveCount(rows: VectorRows): number {
  let live = 0;
  for (let row = 0; row < rows.count; row++) if (rows.isLive(row)) live++;
  return live;
}

/** Live rows spread over all of them: [at most `wanted`, dimension]. */
function sampleRows(rows: VectorRows, dimension: number, live: number, wanted: number): Float32Array {
  const count = Math.min(live, wanted);
  const sample = new Float32Array(count * dimension);
  let [seen, taken] = [0, 0];
  for (let row = 0; row < rows.count && taken < count; row++) {
    if (!rows.isLive(row)) continue;
    if (seen++ >= Math.floor((taken * live) / count)) sample.set(rows.read(row, row + 1), taken++ * dimension);
  }
  return sample;
}

const dead = 0xffffffff;

/** The list of every row; `dead` for those that are gone. */
async function assignRows(rows: VectorRows, kernel: ProductKernel, centres: Float32Array): Promise<Uint32Array> {
  const block = kernel.block(centres.length / kernel.dimension);
  block.rows.set(centres);
  const assign = createAssign(kernel, block);
  const assigned = new Uint32Array(rows.count);
  for (let at = 0; at < rows.count; at += chunk) {
    assigned.set(await assign(rows.read(at, Math.min(rows.count, at + chunk))), at);
  }
  for (let row = 0; row < rows.count; row++) if (!rows.isLive(row)) assigned[row] = dead;
  return assigned;
}

/** Where the parts of the file begin. */
function layoutOf(dimension: number, lists: number, live: number) {
  const centres = headerBytes;
  const starts = centres + 4 * lists * dimension;
  const rows = starts + 4 * (lists + 1);
  const factors = rows + 4 * live;
  const codes = factors + 4 * live;
  return { centres, starts, rows, factors, codes, size: codes + live * dimension };
}
type Layout = ReturnType<typeof layoutOf>;

/** Bytes of a list that are collected before they are written. */
const pendingRows = 64;

function writeCodes(
  rows: VectorRows,
  assigned: Uint32Array,
  starts: Uint32Array,
  layout: Layout,
  dimension: number,
  write: Write,
): void {
  const lists = starts.length - 1;
  const live = starts[lists];
  const [numbers, factors] = [new Uint32Array(live), new Float32Array(live)];
  const next = starts.slice();
  const pending = new Int8Array(lists * pendingRows * dimension);
  const flush = (list: number, count: number) => {
    const at = list * pendingRows * dimension;
    write(bytesOf(pending.subarray(at, at + count * dimension)), layout.codes + (next[list] - count) * dimension);
  };
  for (let at = 0; at < rows.count; at += chunk) {
    const part = rows.read(at, Math.min(rows.count, at + chunk));
    for (let i = 0; i * dimension < part.length; i++) {
      const list = assigned[at + i];
      if (list === dead) continue;
      const place = next[list]++;
      const slot = (place - starts[list]) % pendingRows;
      const into = (list * pendingRows + slot) * dimension;
      numbers[place] = at + i;
      factors[place] = quantizeVector(
        part.subarray(i * dimension, (i + 1) * dimension),
        pending.subarray(into, into + dimension),
      );
      if (slot === pendingRows - 1) flush(list, pendingRows);
    }
  }
  for (let list = 0; list < lists; list++) flush(list, (next[list] - starts[list]) % pendingRows);
  write(bytesOf(numbers), layout.rows);
  write(bytesOf(factors), layout.factors);
}

/** One call writes at most 2 GiB. */
export function writeAt(
  handle: number,
  bytes: Uint8Array,
  at: number,
  { writeSync }: Pick<typeof nodeFs, 'writeSync'> = nodeFs,
): void {
  for (let done = 0; done < bytes.length; ) {
    const written = writeSync(handle, bytes, done, Math.min(bytes.length - done, 2 ** 30), at + done);
    if (written === 0) throw new Error('nothing was written');
    done += written;
  }
}

/** Opens lists. Throws InputError where the file is damaged or of another dimension. */
export function openLists(path: string, dimension: number): Lists {
  const handle = openSync(path, 'r');
  try {
    const { lists, live, covered } = readHeader(readRange(handle, 0, headerBytes), path, dimension);
    const layout = layoutOf(dimension, lists, live);
    const { size } = fstatSync(handle);
    if (size !== layout.size) throw new InputError(`${path}: expected ${layout.size} bytes, got ${size}`);
    const centres = viewBytes('float32', readRange(handle, layout.centres, 4 * lists * dimension));
    const starts = viewBytes('uint32', readRange(handle, layout.starts, 4 * (lists + 1)));
    const rows = viewBytes('uint32', readRange(handle, layout.rows, 4 * live));
    const factors = viewBytes('float32', readRange(handle, layout.factors, 4 * live));
    return {
      covered,
      count: lists,
      nearest: (query) => {
        const scores = Float32Array.from({ length: lists }, (_, list) =>
          dot(query, centres.subarray(list * dimension, (list + 1) * dimension)),
        );
        return Uint32Array.from({ length: lists }, (_, list) => list).sort((a, b) => scores[b] - scores[a]);
      },
      search: (query, list, accept, top) => {
        const [from, to] = [starts[list], starts[list + 1]];
        const codes = viewBytes('int8', readRange(handle, layout.codes + from * dimension, (to - from) * dimension));
        const scores = new Float32Array(to - from);
        scoreCodes(query, codes, factors.subarray(from, to), scores);
        for (let i = 0; i < scores.length; i++) {
          if (scores[i] > top.bound && accept(rows[from + i])) top.offer(scores[i], rows[from + i]);
        }
      },
      dispose: () => closeSync(handle),
    };
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

function readHeader(bytes: Uint8Array, path: string, dimension: number) {
  const text = new TextDecoder().decode(bytes).trim();
  if (!text.startsWith(`{"magic":"${magic}"`)) throw new InputError(`${path}: is not a file of lists`);
  const json = asObject(JSON.parse(text), path);
  if (json['dimension'] !== dimension) {
    throw new InputError(`${path}: has vectors of ${String(json['dimension'])}, expected ${dimension}`);
  }
  const [lists, live, covered] = ['lists', 'live', 'covered'].map((name) => countField(json, name, path));
  return { lists, live, covered };
}
