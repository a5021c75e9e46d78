/**
 * Lists of near vectors: k-means centres, and for each the vectors next to it as bytes. A search looks into the lists of the nearest
 * centres only (Jégou, Douze and Schmid, IEEE TPAMI 2011, without their product codes).
 */
import type { Rng } from '../core/rng.js';
import type { Block, ProductKernel } from './kernel.js';

/** How many lists `count` vectors are put into: about as many as a list has vectors. */
export function listCount(count: number): number {
  return Math.max(1, Math.min(4096, Math.round(Math.sqrt(count))));
}

/** The nearest of the centres given, for vectors [n, dimension]: their numbers [n]. */
export type Assign = (vectors: Float32Array) => Promise<Uint32Array>;

/** Assigns vectors to the centres in `block` [lists, dimension], of unit length. */
export function createAssign({ dimension }: ProductKernel, block: Block): Assign {
  const lists = block.count;
  return async (vectors) => {
    const count = vectors.length / dimension;
    const products = await block.products(vectors); // [lists, count]
    const [nearest, best] = [new Uint32Array(count), products.slice(0, count)];
    for (let list = 1; list < lists; list++) {
      for (let i = 0, at = list * count; i < count; i++, at++) {
        if (products[at] > best[i]) {
          best[i] = products[at];
          nearest[i] = list;
        }
      }
    }
    return nearest;
  };
}

export interface CentreOptions {
  readonly lists: number;
  readonly rng: Rng;
  /** Vectors that are assigned at once. */
  readonly chunk: number;
  readonly rounds?: number;
}

/** Spherical k-means over `sample` [n, dimension], n at least `lists`: unit centres [lists, dimension]. An empty list starts again. */
export async function findCentres(
  kernel: ProductKernel,
  sample: Float32Array,
  { lists, rng, chunk, rounds = 8 }: CentreOptions,
): Promise<Float32Array> {
  const { dimension } = kernel;
  const count = sample.length / dimension;
  const centres = new Float32Array(lists * dimension);
  const start = (list: number, row: number) =>
    centres.set(sample.subarray(row * dimension, (row + 1) * dimension), list * dimension);
  for (let list = 0; list < lists; list++) start(list, Math.floor((list * count) / lists));
  const block = kernel.block(lists);
  const assign = createAssign(kernel, block);
  for (let round = 0; round < rounds; round++) {
    block.rows.set(centres);
    const [sums, counts] = [new Float64Array(lists * dimension), new Uint32Array(lists)];
    for (let at = 0; at < count; at += chunk) {
      const part = sample.subarray(at * dimension, Math.min(count, at + chunk) * dimension);
      const nearest = await assign(part);
      nearest.forEach((list, i) => {
        counts[list]++;
        for (let d = 0, to = list * dimension, from = i * dimension; d < dimension; d++) sums[to + d] += part[from + d];
      });
    }
    for (let list = 0; list < lists; list++) {
      if (counts[list] === 0) start(list, rng.integer(0, count));
      else normaliseInto(sums.subarray(list * dimension, (list + 1) * dimension), centres, list * dimension);
    }
  }
  return centres;
}

function normaliseInto(from: Float64Array, into: Float32Array, at: number): void {
  let squares = 0;
  for (const x of from) squares += x * x;
  const factor = squares > 0 ? 1 / Math.sqrt(squares) : 0;
  for (let d = 0; d < from.length; d++) into[at + d] = from[d] * factor;
}

/** A vector as bytes: its largest magnitude is 127. Returns the factor that gives the vector back. */
export function quantizeVector(vector: Float32Array, into: Int8Array): number {
  let largest = 0;
  for (const x of vector) largest = Math.max(largest, Math.abs(x));
  const factor = largest === 0 ? 0 : 127 / largest;
  for (let d = 0; d < vector.length; d++) into[d] = Math.round(vector[d] * factor);
  return largest / 127;
}

/** Products of the query [dimension] with vectors as bytes [n, dimension]: into `out` [n]. */
export function scoreCodes(query: Float32Array, codes: Int8Array, factors: Float32Array, out: Float32Array): void {
  const dimension = query.length;
  const whole = dimension - (dimension % 4);
  for (let i = 0; i < factors.length; i++) {
    const at = i * dimension;
    // Four sums: each addition need not wait for the one before it.
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let k = 0; k < whole; k += 4) {
      a += query[k] * codes[at + k];
      b += query[k + 1] * codes[at + k + 1];
      c += query[k + 2] * codes[at + k + 2];
      d += query[k + 3] * codes[at + k + 3];
    }
    for (let k = whole; k < dimension; k++) a += query[k] * codes[at + k];
    out[i] = (a + b + (c + d)) * factors[i];
  }
}

/** The product of two vectors. */
export function dot(a: Float32Array, b: Float32Array): number {
  let even = 0;
  let odd = 0;
  for (let i = 0; i + 1 < a.length; i += 2) {
    even += a[i] * b[i];
    odd += a[i + 1] * b[i + 1];
  }
  return a.length % 2 === 0 ? even + odd : even + odd + a[a.length - 1] * b[a.length - 1];
}
