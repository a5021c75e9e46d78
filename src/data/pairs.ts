/** Pictures and what they are called: rows of JSON lines, CSV and TSV. */
import { InputError } from '../core/errors.js';
import { isObject } from '../core/json.js';
import { readJsonItems } from './json-items.js';

/** A row: pictures of one thing, and texts for it. One of each is drawn every time the row comes. */
export interface PairRecord {
  /** `file:line`: what messages call it. */
  readonly where: string;
  /** Paths as the file has them. */
  readonly images: readonly string[];
  readonly texts: readonly string[];
  /** Rows with equal labels are never told apart. Default: the first text. */
  readonly label: string;
  /** Whether a mirrored picture means the same. */
  readonly flip: boolean;
}

export interface PairColumns {
  /** Default: what is there of `filepath`, `image`. */
  readonly image?: string;
  /** Default: what is there of `title`, `text`, `caption`. */
  readonly text?: string;
}

export interface PairFileOptions extends PairColumns {
  /** Between the columns of a table. Default: a tab in .tsv, a comma in .csv. */
  readonly separator?: string;
}

const imageNames = ['filepath', 'image'];
const textNames = ['title', 'text', 'caption'];

/** The rows of a .jsonl, .json, .csv or .tsv file. Throws InputError naming the first row that is none. */
export function parsePairs(text: string, file: string, options: PairFileOptions = {}): readonly PairRecord[] {
  const rows = /\.(csv|tsv)$/i.test(file) || options.separator ? tableRows(text, file, options) : jsonRows(text, file);
  if (rows.length === 0) throw new InputError(`${file}: has no rows`);
  return rows.map(({ line, value }) => recordOf(value, `${file}:${line}`, options));
}

interface Row {
  readonly line: number;
  readonly value: Readonly<Record<string, unknown>>;
}

function jsonRows(text: string, file: string): Row[] {
  return readJsonItems(text).map((item) => {
    if ('problem' in item) throw new InputError(`${file}:${item.line}: ${item.problem}`);
    if (!isObject(item.value)) {
      throw new InputError(
        `${file}:${item.line}: expected an object with an image and a text, got ${JSON.stringify(item.value).slice(0, 60)}`,
      );
    }
    return { line: item.line, value: item.value };
  });
}

/** Cells as RFC 4180 has them: quoted ones may hold separators, line ends and doubled quotes. */
function tableRows(text: string, file: string, { separator }: PairFileOptions): Row[] {
  const between = separator ?? (/\.tsv$/i.test(file) ? '\t' : ',');
  if (between.length !== 1 || between === '"') {
    throw new InputError(`${file}: separator: expected one character, got ${JSON.stringify(between)}`);
  }
  const [head, ...rest] = parseTable(text.replace(/^\uFEFF/, ''), file, between);
  if (!head) return [];
  return rest.map(({ line, cells }) => {
    if (cells.length !== head.cells.length) {
      throw new InputError(`${file}:${line}: has ${cells.length} columns, the first line has ${head.cells.length}`);
    }
    return { line, value: Object.fromEntries(head.cells.map((name, i) => [name.trim(), cells[i]])) };
  });
}

interface TableLine {
  readonly line: number;
  readonly cells: string[];
}

function parseTable(text: string, file: string, separator: string): TableLine[] {
  const lines: TableLine[] = [];
  let [line, at] = [1, 0];
  while (at < text.length) {
    const row: TableLine = { line, cells: [] };
    for (;;) {
      const [cell, next] =
        text[at] === '"' ? quotedCell(text, at, `${file}:${row.line}`) : plainCell(text, at, separator);
      row.cells.push(cell);
      line += cell.split('\n').length - 1;
      at = next;
      if (text[at] !== separator) break;
      at++;
    }
    if (text.startsWith('\r\n', at)) at += 2;
    else if (at < text.length && text[at] !== '\n' && text[at] !== '\r') {
      throw new InputError(`${file}:${line}: text after a quoted cell: ${JSON.stringify(text.slice(at, at + 20))}`);
    } else at++;
    line++;
    if (row.cells.length > 1 || row.cells[0] !== '') lines.push(row);
  }
  return lines;
}

function plainCell(text: string, start: number, separator: string): readonly [string, number] {
  let end = start;
  while (end < text.length && text[end] !== separator && text[end] !== '\n' && text[end] !== '\r') end++;
  return [text.slice(start, end), end];
}

function quotedCell(text: string, start: number, where: string): readonly [string, number] {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] !== '"') continue;
    if (text[at + 1] === '"') at++;
    else return [text.slice(start + 1, at).replaceAll('""', '"'), at + 1];
  }
  throw new InputError(`${where}: a quoted cell has no end`);
}

function recordOf(value: Row['value'], where: string, columns: PairColumns): PairRecord {
  const images = listOf(value, columns.image, imageNames, where);
  const texts = listOf(value, columns.text, textNames, where);
  const { label = texts[0], flip = false } = value;
  if (typeof label !== 'string') throw new InputError(`${where}: label: expected text, got ${JSON.stringify(label)}`);
  if (typeof flip !== 'boolean')
    throw new InputError(`${where}: flip: expected true or false, got ${JSON.stringify(flip)}`);
  return { where, images, texts, label, flip };
}

function listOf(value: Row['value'], given: string | undefined, names: readonly string[], where: string): string[] {
  const wanted = given === undefined ? names : [given];
  const name = wanted.find((each) => Object.hasOwn(value, each));
  if (name === undefined) {
    throw new InputError(
      `${where}: has none of ${wanted.join(', ')}; it has ${Object.keys(value).join(', ') || 'nothing'}`,
    );
  }
  const list: readonly unknown[] = Array.isArray(value[name]) ? value[name] : [value[name]];
  if (list.length === 0 || !list.every((item) => typeof item === 'string' && item !== '')) {
    throw new InputError(`${where}: ${name}: expected text, got ${JSON.stringify(value[name])?.slice(0, 60)}`);
  }
  return list as string[];
}

/** A label as a number that is the same on every process: 52 bits of FNV-1a, twice. */
export function labelNumber(label: string): number {
  let [a, b] = [0x811c9dc5, 0x01000193];
  for (let i = 0; i < label.length; i++) {
    a = Math.imul(a ^ label.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ label.charCodeAt(i), 0x85ebca6b);
  }
  return (a >>> 0) * 2 ** 20 + ((b >>> 0) & 0xfffff);
}
