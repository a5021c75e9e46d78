import { WeightsError } from '../core/errors.js';
import { hasHalfSurrogate, shown } from './source.js';

/** Parsed JSON whose objects are Maps, so that no name in a file can reach a prototype. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export type JsonObject = ReadonlyMap<string, JsonValue>;

export interface JsonLimits {
  /** Objects and arrays inside one another. */
  maxDepth?: number;
  /** Values of any kind. */
  maxValues?: number;
  maxObjects?: number;
}

interface Reader {
  readonly text: string;
  readonly where: string;
  at: number;
  depthLeft: number;
  valuesLeft: number;
  objectsLeft: number;
}

const numberPattern = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/;
const words: readonly (readonly [string, null | boolean])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];
const maxNumberLength = 512;

/**
 * Parses JSON (RFC 8259) as JSON.parse does, but refuses a key that occurs twice in an object, text that is not well-formed
 * Unicode, and more nesting or values than the limits. Throws WeightsError naming `where`.
 */
export function parseStrictJson(
  text: string,
  where: string,
  { maxDepth = 32, maxValues = 1_200_000, maxObjects = 100_010 }: JsonLimits = {},
): JsonValue {
  const reader: Reader = { text, where, at: 0, depthLeft: maxDepth, valuesLeft: maxValues, objectsLeft: maxObjects };
  const value = readValue(reader);
  if (peek(reader) !== undefined) fail(reader, 'expected the end of the JSON text');
  return value;
}

/** Narrows to an object. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return value instanceof Map;
}

/** Narrows to an array. */
export function isJsonArray(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function readValue(reader: Reader): JsonValue {
  if (reader.valuesLeft-- <= 0) fail(reader, 'too many JSON values');
  const first = peek(reader);
  if (first === '{') return nested(reader, readObject);
  if (first === '[') return nested(reader, readArray);
  if (first === '"') return readString(reader);
  return readWordOrNumber(reader);
}

function nested<T>(reader: Reader, read: (reader: Reader) => T): T {
  if (reader.depthLeft-- <= 0) fail(reader, 'JSON is nested too deeply');
  reader.at++;
  const value = read(reader);
  reader.depthLeft++;
  return value;
}

function readObject(reader: Reader): JsonObject {
  if (reader.objectsLeft-- <= 0) fail(reader, 'too many JSON objects');
  const object = new Map<string, JsonValue>();
  if (accept(reader, '}')) return object;
  do {
    if (peek(reader) !== '"') fail(reader, 'expected a key in double quotes');
    const key = readString(reader);
    if (object.has(key)) fail(reader, `the key ${shown(key)} occurs twice`);
    if (!accept(reader, ':')) fail(reader, 'expected ":"');
    object.set(key, readValue(reader));
  } while (accept(reader, ','));
  if (!accept(reader, '}')) fail(reader, 'expected "," or "}"');
  return object;
}

function readArray(reader: Reader): JsonValue[] {
  const array: JsonValue[] = [];
  if (accept(reader, ']')) return array;
  do array.push(readValue(reader));
  while (accept(reader, ','));
  if (!accept(reader, ']')) fail(reader, 'expected "," or "]"');
  return array;
}

function readString(reader: Reader): string {
  const { text } = reader;
  const start = reader.at;
  let end = start + 1;
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  if (end >= text.length) fail(reader, 'a string has no closing quote');
  reader.at = end + 1;
  const value = unescapeLiteral(reader, text.slice(start, end + 1));
  // A lone surrogate cannot be written back as UTF-8: two names could become one.
  if (hasHalfSurrogate(value)) fail(reader, 'a string holds half of a surrogate pair');
  return value;
}

function unescapeLiteral(reader: Reader, literal: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    return fail(reader, 'a string holds a control character or an unknown escape');
  }
}

function readWordOrNumber(reader: Reader): null | boolean | number {
  const found = words.find(([word]) => reader.text.startsWith(word, reader.at));
  if (found === undefined) return readNumber(reader);
  reader.at += found[0].length;
  return found[1];
}

function readNumber(reader: Reader): number {
  const literal = numberPattern.exec(reader.text.slice(reader.at, reader.at + maxNumberLength))?.[0];
  if (literal === undefined || literal.length === maxNumberLength) return fail(reader, 'expected a JSON value');
  reader.at += literal.length;
  return Number(literal);
}

/** The next character that is not white space. */
function peek(reader: Reader): string | undefined {
  while (' \t\n\r'.includes(reader.text[reader.at] ?? '.')) reader.at++;
  return reader.text[reader.at];
}

function accept(reader: Reader, character: string): boolean {
  if (peek(reader) !== character) return false;
  reader.at++;
  return true;
}

function fail({ where, at }: Reader, message: string): never {
  throw new WeightsError(`${where}: ${message}, at character ${at}`);
}
