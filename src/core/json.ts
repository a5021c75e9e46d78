import { InputError } from './errors.js';

/** A parsed JSON object of unknown contents, read field by field with typed errors. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as messages show it: no more of it is written than is shown, since it may be a picture, or deeper than any stack. */
export function briefly(value: unknown, most = 80): string | undefined {
  let written = 0;
  const cut = (_: string, part: unknown) => {
    if (++written > most) return undefined;
    return typeof part === 'string' ? part.slice(0, most) : part;
  };
  return JSON.stringify(value, cut)?.slice(0, most);
}

/** `value` as an object, or InputError naming `where`. */
export function asObject(value: unknown, where: string): JsonObject {
  if (isObject(value)) return value;
  throw new InputError(`${where}: expected a JSON object, got ${briefly(value, 60)}`);
}

function field<T>(
  json: JsonObject,
  name: string,
  where: string,
  kind: string,
  ok: (v: unknown) => v is T,
  other?: T,
): T {
  const value = Object.hasOwn(json, name) ? json[name] : undefined;
  if (ok(value)) return value;
  if (value === undefined && other !== undefined) return other;
  throw new InputError(`${where}: ${name}: expected ${kind}, got ${JSON.stringify(value)}`);
}

const isCount = (v: unknown): v is number => Number.isInteger(v) && (v as number) > 0 && (v as number) <= 2 ** 31;
const isIndex = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 0;
const isNumber = (v: unknown): v is number => typeof v === 'number' && Number.isFinite(v);
const isBoolean = (v: unknown): v is boolean => typeof v === 'boolean';

/** A whole number above zero. */
export const countField = (json: JsonObject, name: string, where: string, other?: number): number =>
  field(json, name, where, 'a whole number above 0', isCount, other);
/** A whole number, zero or more: an id. */
export const indexField = (json: JsonObject, name: string, where: string, other?: number): number =>
  field(json, name, where, 'a whole number, 0 or more', isIndex, other);
export const numberField = (json: JsonObject, name: string, where: string, other?: number): number =>
  field(json, name, where, 'a number', isNumber, other);
export const booleanField = (json: JsonObject, name: string, where: string, other?: boolean): boolean =>
  field(json, name, where, 'true or false', isBoolean, other);
