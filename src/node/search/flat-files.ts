/**
 * The files of a store: vectors one after the other, and a log of what they are. `flat.json` names the files that count; whatever
 * is beside them was left by a process that ended in the middle.
 */
import nodeFs, { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf, viewBytes } from '../../core/dtype.js';
import { InputError, messageOf } from '../../core/errors.js';
import { asObject, indexField } from '../../core/json.js';
import type { PictureInfo } from '../../search/picture.js';
import { syncFile, writeTextAtomic } from '../atomic.js';
import { fileExists, readJson, readRange } from '../files.js';
import { type Lists, openLists, writeAt } from './lists-file.js';
import { readLog, rowLine } from './picture-log.js';

/** The files of one generation; a new one begins when what was removed is left out. */
export interface Files {
  readonly generation: number;
  /** Rows that the lists cover; 0 without lists. */
  readonly covered: number;
}

const stateFile = 'flat.json';
const vectorsName = ({ generation }: Files) => `vectors.${generation}.f32`;
const logName = ({ generation }: Files) => `pictures.${generation}.jsonl`;
export const listsName = ({ generation, covered }: Files) => `lists.${generation}.${covered}.bin`;

function readFiles(dir: string): Files {
  const where = join(dir, stateFile);
  const json = readJson(dir, stateFile);
  if (json === undefined) return { generation: 0, covered: 0 };
  const object = asObject(json, where);
  return { generation: indexField(object, 'generation', where), covered: indexField(object, 'covered', where, 0) };
}

/** Says which files count from now on. */
export const writeFiles = (dir: string, files: Files): void =>
  writeTextAtomic(join(dir, stateFile), `${JSON.stringify(files)}\n`);

/** The calls that append; tests inject faults into them. What waits for the disk does not keep the event loop waiting. */
export interface AppendCalls extends Pick<typeof nodeFs, 'writeSync'> {
  readonly fsync: (handle: number) => Promise<void>;
}

const diskCalls: AppendCalls = { writeSync: nodeFs.writeSync, fsync: (handle) => syncFile(handle, nodeFs) };

/** What is open: files, and what the log said. */
export interface OpenFiles {
  readonly calls: AppendCalls;
  readonly dir: string;
  readonly dimension: number;
  readonly files: Files;
  readonly vectors: number;
  readonly log: number;
  /** By row; undefined where it was removed or replaced. */
  readonly infos: (PictureInfo | undefined)[];
  readonly rowOf: Map<string, number>;
  readonly lists: Lists | undefined;
}

/** Opens the files of a store, or begins them. Throws InputError where they are damaged. */
export function openFiles(dir: string, dimension: number, write: boolean, calls: AppendCalls = diskCalls): OpenFiles {
  const files = readFiles(dir);
  const open = (name: string) => {
    const path = join(dir, name);
    try {
      return openSync(path, write ? (fileExists(path) ? 'r+' : 'w+') : 'r');
    } catch (cause) {
      throw new InputError(`${path}: cannot be opened: ${messageOf(cause)}`, { cause });
    }
  };
  const vectors = open(vectorsName(files));
  try {
    const log = open(logName(files));
    try {
      const { infos, rowOf, bytes } = readLog(log, join(dir, logName(files)));
      const stride = 4 * dimension;
      if (fstatSync(vectors).size < infos.length * stride) {
        throw new InputError(
          `${dir}: is damaged: ${vectorsName(files)} has ${fstatSync(vectors).size} bytes, its log needs ${infos.length * stride}; make the index again`,
        );
      }
      if (write) {
        // What a process that ended in the middle had not finished.
        ftruncateSync(log, bytes);
        ftruncateSync(vectors, infos.length * stride);
        removeLeftovers(dir, files);
      }
      const lists = files.covered > 0 ? openLists(join(dir, listsName(files)), dimension) : undefined;
      return { calls, dir, dimension, files, vectors, log, infos, rowOf, lists };
    } catch (error) {
      closeSync(log);
      throw error;
    }
  } catch (error) {
    closeSync(vectors);
    throw error;
  }
}

function removeLeftovers(dir: string, files: Files): void {
  const keep = new Set([vectorsName(files), logName(files), ...(files.covered > 0 ? [listsName(files)] : [])]);
  for (const name of readdirSync(dir)) {
    if (/^(vectors|pictures|lists)\.\d/.test(name) && !keep.has(name)) rmSync(join(dir, name), { force: true });
  }
}

export function closeFiles({ vectors, log, lists }: OpenFiles): void {
  closeSync(vectors);
  closeSync(log);
  lists?.dispose();
}

/** Vectors of rows [start, end): [end - start, dimension]. */
export function readVectors({ vectors, dimension }: OpenFiles, start: number, end: number): Float32Array {
  return viewBytes('float32', readRange(vectors, start * 4 * dimension, (end - start) * 4 * dimension));
}

/** Vectors after the last row, on the disk when this is done. They do not count until the log names them. */
export async function appendVectors(
  { calls, dir, vectors, infos, dimension }: OpenFiles,
  rows: readonly Float32Array[],
): Promise<void> {
  try {
    rows.forEach((vector, i) => {
      writeAt(vectors, bytesOf(vector), (infos.length + i) * 4 * dimension, calls);
    });
    await calls.fsync(vectors);
  } catch (cause) {
    throw notWritten(dir, cause);
  }
}

/** Lines at the end of the log, on the disk when this is done. */
export async function appendLog({ calls, dir, log }: OpenFiles, lines: readonly string[]): Promise<void> {
  const { size } = fstatSync(log);
  try {
    writeAt(log, new TextEncoder().encode(lines.join('')), size, calls);
    await calls.fsync(log);
  } catch (cause) {
    ftruncateSync(log, size);
    throw notWritten(dir, cause);
  }
}

const notWritten = (dir: string, cause: unknown) =>
  new InputError(`${dir}: could not be written: ${messageOf(cause)}; what was there before is kept`, { cause });

/** The live rows alone, in files of the next generation. */
export function compactFiles(opened: OpenFiles, next: Files): void {
  const { dir, infos, dimension } = opened;
  const [vectors, log] = [openSync(join(dir, vectorsName(next)), 'w'), openSync(join(dir, logName(next)), 'w')];
  try {
    let [row, logSize] = [0, 0];
    for (const [old, info] of infos.entries()) {
      if (!info) continue;
      writeAt(vectors, bytesOf(readVectors(opened, old, old + 1)), row * 4 * dimension);
      const line = new TextEncoder().encode(rowLine(row, info));
      writeAt(log, line, logSize);
      logSize += line.length;
      row++;
    }
    fsyncSync(vectors);
    fsyncSync(log);
  } finally {
    closeSync(vectors);
    closeSync(log);
  }
}
