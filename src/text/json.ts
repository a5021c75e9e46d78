import { InputError } from '../core/errors.js';

/** A parsed JSON object, keys as they stand in the file. */
export type JsonObject = Readonly<Record<string, unknown>>;

const downloadAgain = "download the checkpoint's tokenizer files again, or copy them from its base model";

/** InputError about a tokenizer file: where, what is wrong, what to do. */
export function fileError(file: string, problem: string, todo: string = downloadAgain, cause?: unknown): InputError {
  return new InputError(`${file}: ${problem}; ${todo}`, cause === undefined ? undefined : { cause });
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** Narrows a parsed file to a JSON object, or throws InputError. */
export function asObject(value: unknown, file: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw fileError(file, `expected a JSON object, got ${kindOf(value)}`);
}

/** As asObject; {} for a file or field that is not there. */
export function optionalObject(value: unknown, file: string): JsonObject {
  return value === undefined || value === null ? {} : asObject(value, file);
}

/** A list in a parsed file; [] where it is not there. */
export function optionalList(value: unknown, file: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw fileError(file, `expected an array, got ${kindOf(value)}`);
}
