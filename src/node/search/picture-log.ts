/** The log of a store: one line of JSON for every picture added and every one removed, in order. */
import { fstatSync } from 'node:fs';
import { InputError, messageOf } from '../../core/errors.js';
import { asObject, indexField, numberField } from '../../core/json.js';
import type { PictureInfo } from '../../search/picture.js';
import { readRange } from '../files.js';

export const rowLine = (row: number, info: PictureInfo): string => `${JSON.stringify({ row, ...info })}\n`;
export const removedLine = (path: string): string => `${JSON.stringify({ removed: path })}\n`;

export interface Logged {
  /** By row; undefined where it was removed or replaced. */
  readonly infos: (PictureInfo | undefined)[];
  readonly rowOf: Map<string, number>;
  /** Bytes of the lines that are whole. */
  readonly bytes: number;
}

const pieceBytes = 8 << 20;
const newline = 10;

/** Reads a log; a last line that is not whole does not count. Throws InputError naming a line that is damaged. */
export function readLog(handle: number, where: string): Logged {
  const infos: (PictureInfo | undefined)[] = [];
  const rowOf = new Map<string, number>();
  const decoder = new TextDecoder();
  const { size } = fstatSync(handle);
  let [bytes, line] = [0, 0];
  for (let length = pieceBytes; bytes < size; ) {
    const piece = readRange(handle, bytes, Math.min(length, size - bytes));
    const end = piece.lastIndexOf(newline) + 1;
    if (end === 0) {
      if (bytes + piece.length >= size) break;
      length *= 2;
      continue;
    }
    for (const text of decoder.decode(piece.subarray(0, end - 1)).split('\n')) {
      line++;
      applyLine(text, `${where}:${line}`, infos, rowOf);
    }
    bytes += end;
    length = pieceBytes;
  }
  return { infos, rowOf, bytes };
}

function applyLine(text: string, where: string, infos: (PictureInfo | undefined)[], rowOf: Map<string, number>): void {
  const json = asObject(parseLine(text, where), where);
  if (json['row'] === undefined) {
    const path = textField(json, 'removed', where);
    const row = rowOf.get(path);
    if (row !== undefined) infos[row] = undefined;
    rowOf.delete(path);
    return;
  }
  if (json['row'] !== infos.length) {
    throw new InputError(`${where}: row: expected ${infos.length}, got ${String(json['row'])}; the index is damaged`);
  }
  const info = pictureInfoFrom(json, where);
  const old = rowOf.get(info.path);
  if (old !== undefined) infos[old] = undefined;
  rowOf.set(info.path, infos.length);
  infos.push(info);
}

/** What is known of a picture, from whatever was stored. Throws InputError naming the field that is wrong. */
export function pictureInfoFrom(value: unknown, where: string): PictureInfo {
  const json = asObject(value, where);
  return {
    path: textField(json, 'path', where),
    size: indexField(json, 'size', where),
    modified: numberField(json, 'modified', where),
    sha256: textField(json, 'sha256', where),
    width: indexField(json, 'width', where),
    height: indexField(json, 'height', where),
  };
}

function parseLine(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new InputError(`${where}: is not JSON: ${messageOf(cause)}; the index is damaged`, { cause });
  }
}

function textField(json: Readonly<Record<string, unknown>>, name: string, where: string): string {
  const value = json[name];
  if (typeof value === 'string') return value;
  throw new InputError(`${where}: ${name}: expected text, got ${JSON.stringify(value)}; the index is damaged`);
}
