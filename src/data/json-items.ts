import { messageOf } from '../core/errors.js';

/** One item of a data file: what it holds, or why it cannot be read. */
export type JsonItem =
  | { readonly line: number; readonly value: unknown }
  | { readonly line: number; readonly problem: string };

/**
 * The items of a JSON array or of JSON lines, each with the line it begins at. A broken item is one problem, not the end: the
 * next line of JSON lines is read on; in an array everything up to the next comma outside brackets is the item.
 */
export function readJsonItems(text: string): JsonItem[] {
  const start = /^\uFEFF?\s*/.exec(text)?.[0].length ?? 0;
  if (start === text.length) return [];
  return text[start] === '[' ? arrayItems(text, start) : lineItems(text);
}

function parseItem(text: string, line: number): JsonItem {
  try {
    return { line, value: JSON.parse(text) as unknown };
  } catch (error) {
    return { line, problem: `is not JSON: ${messageOf(error)}` };
  }
}

function lineItems(text: string): JsonItem[] {
  return text
    .replace(/^\uFEFF/, '')
    .split('\n')
    .flatMap((line, i) => (line.trim() === '' ? [] : [parseItem(line, i + 1)]));
}

/** Items of the array that begins at `open`: cut at commas outside strings and brackets. */
function arrayItems(text: string, open: number): JsonItem[] {
  const items: JsonItem[] = [];
  let line = 1 + countLines(text, 0, open);
  let itemStart = open + 1;
  let depth = 0;
  const push = (end: number) => {
    const raw = text.slice(itemStart, end);
    const lead = /^\s*/.exec(raw)?.[0] ?? '';
    if (lead.length < raw.length) items.push(parseItem(raw, line + countLines(lead, 0, lead.length)));
    else if (text[end] === ',') items.push({ line, problem: 'is not JSON: an item is missing before a comma' });
    line += countLines(raw, 0, raw.length);
    itemStart = end + 1;
  };
  for (let at = open + 1; at < text.length; at++) {
    const char = text[at];
    if (char === '"') at = stringEnd(text, at);
    else if (char === '[' || char === '{') depth++;
    else if (char === ',' && depth === 0) push(at);
    else if (char === ']' && depth === 0) {
      push(at);
      return withRest(items, text.slice(at + 1), line);
    } else if (char === ']' || char === '}') depth--;
  }
  push(text.length);
  return [...items, { line, problem: 'is not JSON: the array has no end; the file is cut off' }];
}

function withRest(items: JsonItem[], rest: string, line: number): JsonItem[] {
  return rest.trim() === '' ? items : [...items, { line, problem: 'is not JSON: there is text after the array' }];
}

/** The closing quote of the string that opens at `at`; the end of the text where there is none. */
function stringEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '"') return i;
  }
  return text.length;
}

function countLines(text: string, start: number, end: number): number {
  let count = 0;
  for (let at = text.indexOf('\n', start); at >= 0 && at < end; at = text.indexOf('\n', at + 1)) count++;
  return count;
}
