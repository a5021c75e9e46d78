import { InputError } from '../core/errors.js';

/** A part of a query: its vector, added or taken away. */
export interface QueryPart {
  readonly vector: Float32Array;
  readonly sign: 1 | -1;
}

/** The unit vector of a sum of unit vectors [dimension]. Throws InputError where nothing is left. */
export function combineQuery(parts: readonly QueryPart[]): Float32Array {
  if (!parts.some(({ sign }) => sign > 0)) {
    throw new InputError('search: expected words or an image to look for; what is taken away is taken from something');
  }
  const sum = new Float64Array(parts[0].vector.length);
  for (const { vector, sign } of parts) for (let i = 0; i < sum.length; i++) sum[i] += sign * vector[i];
  const length = Math.hypot(...sum);
  if (!(length > 1e-6)) throw new InputError('search: what is taken away leaves nothing to look for');
  return Float32Array.from(sum, (x) => x / length);
}

/** A text to look for, without white space at its ends. Throws InputError where there is none. */
export function expectWords(text: string, what = 'search'): string {
  const words = text.trim();
  if (words === '') throw new InputError(`${what}: expected words, got an empty text`);
  return words;
}
