import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';

/** Which sample of which set stands at a global index. */
export interface Place {
  readonly set: number;
  readonly index: number;
}

export interface OrderedSet {
  /** Samples. */
  readonly length: number;
  /** How often each sample comes per epoch; 0.5: half of them an epoch, the others in the next. Default 1. */
  readonly weight?: number;
  /** After how many samples the list repeats itself; see `periodOf`. Default: its length. */
  readonly period?: number;
}

export interface OrderOptions {
  readonly seed: number;
  /** Default true. Without it samples come in the order of the sets and their lists. */
  readonly shuffle?: boolean;
}

/** The order of samples: a function of (seed, global index) and nothing else. */
export interface Order {
  /** Samples of one epoch. */
  readonly epochLength: number;
  at(globalIndex: number): Place;
}

/** Numbers 0 … n-1 in an order that the seed decides (Fisher–Yates). */
export function permutation(n: number, ...seed: number[]): Int32Array {
  const rng = createRng(...seed);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = rng.integer(0, i + 1);
    const kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  return order;
}

/** Keeps the last few results of a function of whole numbers. */
function remembered<T>(make: (key: number) => T, most = 2): (key: number) => T {
  const known = new Map<number, T>();
  return (key) => {
    const found = known.get(key) ?? make(key);
    known.delete(key);
    known.set(key, found);
    if (known.size > most) known.delete(known.keys().next().value as number);
    return found;
  };
}

/**
 * Sets mixed by weight and shuffled epoch by epoch. A list that is some list repeated N times, and N epochs over that list,
 * give the same samples at the same global index. Throws InputError for empty sets and weights that are not above 0.
 */
export function createOrder(sets: readonly OrderedSet[], { seed, shuffle = true }: OrderOptions): Order {
  if (sets.length === 0) throw new InputError('data: expected at least one set');
  const streams = sets.map(({ length, weight = 1, period = length }, set) => {
    if (!(Number.isInteger(length) && length > 0)) throw new InputError(`data: set ${set} has no samples`);
    if (!(weight > 0 && Number.isFinite(weight))) {
      throw new InputError(`data: set ${set}: weight: expected a number above 0, got ${weight}`);
    }
    const shuffled = remembered((epoch: number) => permutation(period, seed, 1 + set, epoch));
    const at = (draw: number) => (shuffle ? shuffled(Math.floor(draw / period))[draw % period] : draw % period);
    return { perEpoch: Math.max(1, Math.round(period * weight)), at };
  });
  const epochLength = streams.reduce((sum, { perEpoch }) => sum + perEpoch, 0);
  /** For every slot of an epoch its set, and how many of that set's slots come before it. */
  const slotsOf = remembered((epoch: number) => {
    const owners = Int32Array.from(streams.flatMap(({ perEpoch }, set) => Array<number>(perEpoch).fill(set)));
    const order =
      shuffle && streams.length > 1 ? permutation(epochLength, seed, 0, epoch).map((i) => owners[i]) : owners;
    const seen = new Int32Array(streams.length);
    return { order, rank: order.map((set) => seen[set]++) };
  });
  return {
    epochLength,
    at: (globalIndex) => {
      if (!Number.isSafeInteger(globalIndex) || globalIndex < 0) {
        throw new InputError(`data: global index: expected a whole number from 0, got ${globalIndex}`);
      }
      const epoch = Math.floor(globalIndex / epochLength);
      const slot = globalIndex % epochLength;
      const { order, rank } = slotsOf(epoch);
      const set = order[slot];
      const { perEpoch, at } = streams[set];
      return { set, index: at(epoch * perEpoch + rank[slot]) };
    },
  };
}

/** After how many items a list is itself again: n for a list repeated, its length for any other (Knuth, Morris, Pratt). */
export function periodOf(keys: readonly string[]): number {
  const n = keys.length;
  const border = new Int32Array(n);
  for (let i = 1, k = 0; i < n; i++) {
    while (k > 0 && keys[i] !== keys[k]) k = border[k - 1];
    if (keys[i] === keys[k]) k++;
    border[i] = k;
  }
  const period = n - (border[n - 1] ?? 0);
  return n > 0 && n % period === 0 ? period : n;
}
