/** A seeded stream of random numbers. Its state can be saved and restored exactly. */
export interface Rng {
  /** Uniform in [0, 1), 32 bits of it. */
  next(): number;
  /** Uniform 32-bit word. */
  nextUint32(): number;
  /** Standard normal. */
  normal(): number;
  /** Leaves the stream as `count` calls of `normal` do, without their arithmetic. */
  skipNormals(count: number): void;
  /** Integer in [low, high). */
  integer(low: number, high: number): number;
  /** The four words from which `createRng` continues the stream. */
  state(): RngState;
}

export type RngState = readonly [number, number, number, number];

/** splitmix32: spreads a seed over words. */
function splitmix(seed: number): () => number {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x9e3779b9) >>> 0;
    let z = x;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

function seedState(parts: readonly number[]): RngState {
  let mixed = 0;
  for (const part of parts) mixed = splitmix((mixed ^ (part >>> 0) ^ Math.floor(part / 2 ** 32)) >>> 0)();
  const word = splitmix(mixed);
  return [word(), word(), word(), word()];
}

/**
 * xoshiro128** (Blackman and Vigna, prng.di.unimi.it). Seeded by one or several integers, so a stream can be a function of
 * (seed, index); or continued from a saved state.
 */
export function createRng(...seed: readonly number[] | [RngState]): Rng {
  const first = seed[0];
  const s = Uint32Array.from(Array.isArray(first) ? (first as RngState) : seedState(seed as readonly number[]));
  const rotl = (x: number, k: number) => (x << k) | (x >>> (32 - k));
  const nextUint32 = () => {
    const result = Math.imul(rotl(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11);
    return result;
  };
  const next = () => nextUint32() / 2 ** 32;
  return {
    next,
    nextUint32,
    // Box-Muller without a kept second value: the state stays four words.
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    skipNormals: (count) => {
      for (let i = 0; i < 2 * count; i++) nextUint32();
    },
    integer: (low, high) => low + Math.floor(next() * (high - low)),
    state: () => [s[0], s[1], s[2], s[3]],
  };
}
