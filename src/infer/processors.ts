import { InputError } from '../core/errors.js';
import { argmax } from '../core/logits.js';
import type { Rng } from '../core/rng.js';

/** Changes logits [V] in place, given the row's ids so far. */
export type LogitsProcessor = (logits: Float32Array, history: readonly number[]) => void;

export interface Sampling {
  /** 0 or undefined: greedy. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
}

export interface PenaltyOptions {
  readonly repetitionPenalty?: number;
  readonly noRepeatNgramSize?: number;
}

/** Divides positive and multiplies negative logits of every id in the history, padding included (transformers). */
function repetitionPenalty(penalty: number): LogitsProcessor {
  return (logits, history) => {
    for (const id of new Set(history)) logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
  };
}

/** Forbids ids that would complete an n-gram the history already has. */
function noRepeatNgram(size: number): LogitsProcessor {
  return (logits, history) => {
    const prefix = history.slice(history.length - size + 1);
    for (let at = 0; at + size <= history.length; at++) {
      if (prefix.every((id, i) => history[at + i] === id)) logits[history[at + size - 1]] = Number.NEGATIVE_INFINITY;
    }
  };
}

/** The processors asked for, in transformers' order. Throws InputError for values out of range. */
export function createProcessors({
  repetitionPenalty: penalty = 1,
  noRepeatNgramSize = 0,
}: PenaltyOptions): LogitsProcessor {
  if (!(penalty > 0)) throw new InputError(`repetitionPenalty: expected a number above 0, got ${penalty}`);
  if (!Number.isInteger(noRepeatNgramSize) || noRepeatNgramSize < 0) {
    throw new InputError(`noRepeatNgramSize: expected a whole number, got ${noRepeatNgramSize}`);
  }
  const active = [
    ...(penalty === 1 ? [] : [repetitionPenalty(penalty)]),
    ...(noRepeatNgramSize === 0 ? [] : [noRepeatNgram(noRepeatNgramSize)]),
  ];
  return (logits, history) => {
    for (const process of active) process(logits, history);
  };
}

/** Checks sampling options; throws InputError naming the one that is wrong. */
export function checkSampling({ temperature = 0, topK = 0, topP = 1 }: Sampling): void {
  if (!(temperature >= 0)) throw new InputError(`temperature: expected 0 or more, got ${temperature}`);
  if (!Number.isInteger(topK) || topK < 0) throw new InputError(`topK: expected a whole number, got ${topK}`);
  if (!(topP > 0 && topP <= 1)) throw new InputError(`topP: expected more than 0 and at most 1, got ${topP}`);
}

/** The next id: the best, or one drawn after temperature, top-k and top-p (in transformers' order). */
export function pickToken(logits: Float32Array, { temperature = 0, topK = 0, topP = 1 }: Sampling, rng: Rng): number {
  if (temperature === 0) return argmax(logits);
  const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  let kept = topK > 0 ? cutTies(order, logits, topK) : order;
  const top = logits[kept[0]];
  let weights = kept.map((id) => Math.exp((logits[id] - top) / temperature));
  if (topP < 1) {
    const total = weights.reduce((a, b) => a + b, 0);
    // The smallest set that reaches topP: ids before which less than topP has been gathered.
    let gathered = 0;
    const count = weights.findIndex((weight) => {
      gathered += weight / total;
      return gathered >= topP;
    });
    if (count >= 0) {
      kept = kept.slice(0, count + 1);
      weights = weights.slice(0, count + 1);
    }
  }
  let left = rng.next() * weights.reduce((a, b) => a + b, 0);
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return kept[i];
  }
  return kept[kept.length - 1];
}

/** The k best, and those equal to the last of them. */
function cutTies(order: readonly number[], logits: Float32Array, k: number): number[] {
  if (k >= order.length) return [...order];
  const threshold = logits[order[k - 1]];
  return order.filter((id) => logits[id] >= threshold);
}
