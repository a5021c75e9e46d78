import { InputError } from '../core/errors.js';
import { argmax } from '../core/logits.js';
import type { Rng } from '../core/rng.js';

/** A row's ids so far. */
export interface RowHistory {
  /** With the padding before them, if the prompt had any. */
  readonly ids: readonly number[];
  /** How many of the first are padding. */
  readonly padding: number;
  /** How many of the last are new. */
  readonly generated: number;
}

/** The same of a prompt. */
export type PromptHistory = Pick<RowHistory, 'ids' | 'padding'>;

/** Changes logits [V] in place. */
export type LogitsProcessor = (logits: Float32Array, row: RowHistory) => void;

export interface Sampling {
  /** 0 or undefined: greedy. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
}

export interface PenaltyOptions {
  readonly repetitionPenalty?: number;
  readonly noRepeatNgramSize?: number;
  /** New tokens before a row may end; the end token counts. Default 0. */
  readonly minNewTokens?: number;
}

/** Divides positive and multiplies negative logits of every id in the history but its padding (transformers from 5.23 on). */
function repetitionPenalty(penalty: number): LogitsProcessor {
  return (logits, { ids, padding }) => {
    for (const id of new Set(ids.slice(padding)))
      logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
  };
}

/** Forbids ids that would complete an n-gram the history already has, padding included. */
function noRepeatNgram(size: number): LogitsProcessor {
  return (logits, { ids: history }) => {
    const prefix = history.slice(history.length - size + 1);
    for (let at = 0; at + size <= history.length; at++) {
      if (prefix.every((id, i) => history[at + i] === id)) logits[history[at + size - 1]] = Number.NEGATIVE_INFINITY;
    }
  };
}

/** Forbids the ids that end a row as long as it has fewer new tokens. */
function minNewTokens(least: number, ends: readonly number[]): LogitsProcessor {
  return (logits, { generated }) => {
    if (generated < least) for (const id of ends) logits[id] = Number.NEGATIVE_INFINITY;
  };
}

/**
 * The processors asked for as one, in transformers' order; undefined where none is. `ends` end a row. Throws InputError for values out of
 * range.
 */
export function createProcessors(
  { repetitionPenalty: penalty = 1, noRepeatNgramSize = 0, minNewTokens: least = 0 }: PenaltyOptions,
  ends: readonly number[],
): LogitsProcessor | undefined {
  if (!(penalty > 0)) throw new InputError(`repetitionPenalty: expected a number above 0, got ${penalty}`);
  if (!Number.isInteger(noRepeatNgramSize) || noRepeatNgramSize < 0) {
    throw new InputError(`noRepeatNgramSize: expected a whole number, got ${noRepeatNgramSize}`);
  }
  if (!Number.isInteger(least) || least < 0) {
    throw new InputError(`minNewTokens: expected a whole number, got ${least}`);
  }
  const active = [
    ...(penalty === 1 ? [] : [repetitionPenalty(penalty)]),
    ...(noRepeatNgramSize === 0 ? [] : [noRepeatNgram(noRepeatNgramSize)]),
    ...(least === 0 ? [] : [minNewTokens(least, ends)]),
  ];
  if (active.length === 0) return undefined;
  return (logits, row) => {
    for (const process of active) process(logits, row);
  };
}

/** Checks sampling options; throws InputError naming the one that is wrong. */
export function checkSampling({ temperature = 0, topK = 0, topP = 1 }: Sampling): void {
  if (!(temperature >= 0)) throw new InputError(`temperature: expected 0 or more, got ${temperature}`);
  if (!Number.isInteger(topK) || topK < 0) throw new InputError(`topK: expected a whole number, got ${topK}`);
  if (!(topP >= 0 && topP <= 1)) throw new InputError(`topP: expected 0 to 1, got ${topP}`);
}

/**
 * The next id: the best, or one drawn after temperature, top-k and top-p (in transformers' order). Ids are not sorted: with a
 * vocabulary of 50,000 that would stop the event loop for 20 ms a token and row.
 */
export function pickToken(logits: Float32Array, { temperature = 0, topK = 0, topP = 1 }: Sampling, rng: Rng): number {
  const best = argmax(logits);
  if (temperature === 0) return best;
  const least = topK > 0 && topK < logits.length ? greatest(logits, topK) : Number.NEGATIVE_INFINITY;
  const weights = new Float64Array(logits.length);
  for (let id = 0; id < weights.length; id++) {
    if (logits[id] >= least) weights[id] = Math.exp((logits[id] - logits[best]) / temperature);
  }
  if (topP < 1) keepNucleus(weights, topP);
  let left = rng.next() * sumOf(weights);
  for (let id = 0; id < weights.length; id++) {
    left -= weights[id];
    if (left < 0) return id;
  }
  return weights.findLastIndex((weight) => weight > 0);
}

function sumOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

/** The `rank`-th greatest of `values`, from 1 (Hoare's selection). */
function greatest(values: Float32Array, rank: number): number {
  const order = values.slice();
  const wanted = order.length - rank;
  for (let [from, to] = [0, order.length - 1]; from < to; ) {
    const pivot = order[(from + to) >> 1];
    let [i, j] = [from, to];
    while (i <= j) {
      while (order[i] < pivot) i++;
      while (order[j] > pivot) j--;
      if (i <= j) {
        const value = order[i];
        order[i++] = order[j];
        order[j--] = value;
      }
    }
    if (wanted <= j) to = j;
    else if (wanted >= i) from = i;
    else break;
  }
  return order[wanted];
}

/** Sets all weights to 0 but the smallest set of the greatest that has `share` of their sum; of equal ones the first count. */
function keepNucleus(weights: Float64Array, share: number): void {
  const total = sumOf(weights);
  // All weights below this together have no more than what is left out.
  const floor = ((1 - share) * total) / weights.length;
  const sorted = weights.filter((weight) => weight >= floor).sort();
  let at = sorted.length;
  // The best at least, as of a share of 0.
  for (let gathered = 0; at === sorted.length || (at > 0 && gathered < share * total); ) gathered += sorted[--at];
  const least = sorted[at];
  let equal = sorted.lastIndexOf(least) + 1 - at;
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] < least || (weights[id] === least && equal-- <= 0)) weights[id] = 0;
  }
}
