import { InputError } from '../core/errors.js';
import type { PictureInfo } from './picture.js';

export type Operator = '=' | '!=' | '<' | '<=' | '>' | '>=' | '~';

/** One comparison of a picture's metadata: numbers by order, text by equality or `~`, a pattern with `*` and `?`. */
export interface Condition {
  readonly field: keyof PictureInfo;
  readonly operator: Operator;
  readonly value: number | string;
}

const numeric = new Set(['size', 'modified', 'width', 'height']);
const textual = new Set(['path', 'sha256']);
const shape = /^\s*(\w+)\s*(<=|>=|!=|=|<|>|~)\s*(.*?)\s*$/;

/**
 * Conditions from text such as `size>10000 and path~holiday/*`. Fields: path, size (bytes), modified (a date as 2024-05-31), width,
 * height, sha256. Values may stand in quotes. Throws InputError naming what is wrong.
 */
export function parseConditions(text: string): Condition[] {
  return splitAtAnd(text).map(parseCondition);
}

/** Splits at the word `and` outside of quotes. */
function splitAtAnd(text: string): string[] {
  const parts = [''];
  for (const piece of text.match(/"[^"]*"|'[^']*'|\s+and\s+|./gis) ?? []) {
    if (/^\s+and\s+$/i.test(piece)) parts.push('');
    else parts[parts.length - 1] += piece;
  }
  return parts;
}

function parseCondition(text: string): Condition {
  const [, name, operator, written] = shape.exec(text) ?? [];
  const fail = (expected: string) => new InputError(`where ${JSON.stringify(text.trim())}: expected ${expected}`);
  if (name === undefined) throw fail('a comparison such as size>10000 or path~holiday/*');
  const given = /^(["']).*\1$/s.test(written) ? written.slice(1, -1) : written;
  if (given === '') throw fail(`a value after ${operator}`);
  if (textual.has(name)) {
    if (!['=', '!=', '~'].includes(operator)) throw fail(`=, != or ~ for ${name}`);
    return { field: name as 'path', operator: operator as Operator, value: given };
  }
  if (!numeric.has(name)) throw fail(`one of ${[...textual, ...numeric].join(', ')}, got ${name}`);
  if (operator === '~') throw fail(`an order or equality for ${name}`);
  const value = name === 'modified' ? Date.parse(given) : Number(given);
  if (!Number.isFinite(value)) throw fail(name === 'modified' ? 'a date such as 2024-05-31' : `a number for ${name}`);
  return { field: name as 'size', operator: operator as Operator, value };
}

/** A test for pictures that holds where all conditions do. */
export function matcherOf(conditions: readonly Condition[]): (info: PictureInfo) => boolean {
  const tests = conditions.map(testOf);
  return (info) => tests.every((holds) => holds(info));
}

function testOf({ field, operator, value }: Condition): (info: PictureInfo) => boolean {
  switch (operator) {
    case '=':
      return (info) => info[field] === value;
    case '!=':
      return (info) => info[field] !== value;
    case '<':
      return (info) => info[field] < value;
    case '<=':
      return (info) => info[field] <= value;
    case '>':
      return (info) => info[field] > value;
    case '>=':
      return (info) => info[field] >= value;
    case '~': {
      const pattern = patternOf(String(value));
      return (info) => pattern.test(String(info[field]));
    }
  }
}

/** `*` is any text, `?` any one character; upper and lower case are the same. */
function patternOf(text: string): RegExp {
  const source = text
    .replace(/[\\^$.+()[\]{}|]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 'is');
}
