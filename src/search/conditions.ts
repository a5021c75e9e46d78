import { InputError } from '../core/errors.js';
import { wildcardMatcher } from '../core/wildcard.js';
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
/** What a comparison begins with; the rest is its value. */
const shape = /^(\w+)\s*(<=|>=|!=|=|<|>|~)\s*/;

/**
 * Conditions from text such as `size>10000 and path~holiday/*`. Fields: path, size (bytes), modified (a date as 2024-05-31), width,
 * height, sha256. Values may stand in quotes. Throws InputError naming what is wrong.
 */
export function parseConditions(text: string): Condition[] {
  return splitAtAnd(text).map(parseCondition);
}

/** Splits at the word `and` outside of quotes. */
function splitAtAnd(text: string): string[] {
  const pieces = text.match(/"[^"]*"|'[^']*'|\s+|[^\s"']+|./gs) ?? [];
  const isSpace = (piece: string | undefined) => piece?.trim() === '';
  const parts = [''];
  pieces.forEach((piece, i) => {
    if (/^and$/i.test(piece) && isSpace(pieces[i - 1]) && isSpace(pieces[i + 1])) parts.push('');
    else parts[parts.length - 1] += piece;
  });
  return parts;
}

function parseCondition(text: string): Condition {
  const trimmed = text.trim();
  const [begin, name, operator] = shape.exec(trimmed) ?? [];
  const fail = (expected: string) => new InputError(`where ${JSON.stringify(trimmed)}: expected ${expected}`);
  if (begin === undefined) throw fail('a comparison such as size>10000 or path~holiday/*');
  const written = trimmed.slice(begin.length);
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
      const matches = wildcardMatcher(fold(String(value)));
      return (info) => matches(fold(String(info[field])));
    }
  }
}

/** In patterns upper and lower case are the same. */
const fold = (text: string): string => text.toLowerCase();
