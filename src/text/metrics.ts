import { meteor } from './meteor.js';

/** How near a reading is to the truth. A rate is null where something was read and there was nothing. */
export interface ReadingMetrics {
  /** Single-character edits between the two texts, counted in code points. */
  readonly editDistance: number;
  /** Edits by the longer text's length: 0 is equal, 1 has nothing in common. */
  readonly normalisedEditDistance: number;
  /** Character error rate: edits by the truth's length. */
  readonly cer: number | null;
  /** The same of words. */
  readonly wordEditDistance: number;
  /** Word error rate. */
  readonly wer: number | null;
  /** Of words as a multiset; 0 where there are none. */
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  readonly bleu: number;
  readonly meteor: number;
}

/** Least number of insertions, deletions and replacements that make one list the other (Levenshtein). */
export function editDistance<T>(from: ArrayLike<T>, to: ArrayLike<T>): number {
  let start = 0;
  let fromEnd = from.length;
  let toEnd = to.length;
  while (start < fromEnd && start < toEnd && from[start] === to[start]) start++;
  while (fromEnd > start && toEnd > start && from[fromEnd - 1] === to[toEnd - 1]) {
    fromEnd--;
    toEnd--;
  }
  const row = Uint32Array.from({ length: toEnd - start + 1 }, (_, i) => i);
  for (let i = start; i < fromEnd; i++) {
    let diagonal = row[0]++;
    for (let j = 1; j < row.length; j++) {
      const replaced = diagonal + Number(from[i] !== to[start + j - 1]);
      diagonal = row[j];
      row[j] = Math.min(replaced, row[j] + 1, row[j - 1] + 1);
    }
  }
  return row[row.length - 1];
}

/** Unicode's white space, as Python's `str.split` has it. */
const space = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const spaces = new RegExp(`[${space}]+`, 'u');

/** The words of a text: what white space parts. */
export function wordsOf(text: string): string[] {
  return text.split(spaces).filter(Boolean);
}

const han = /[\u4e00-\u9fa5]/;

/** Tokens of both texts: words, or single characters where either text has Chinese ones. */
export function tokensOf(reference: string, hypothesis: string): { reference: string[]; hypothesis: string[] } {
  const split = han.test(reference) || han.test(hypothesis) ? (text: string) => [...wordsOf(text).join('')] : wordsOf;
  return { reference: split(reference), hypothesis: split(hypothesis) };
}

function counted<T>(items: readonly T[]): Map<T, number> {
  const counts = new Map<T, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  return counts;
}

function sharedCount<T>(some: readonly T[], others: readonly T[]): number {
  const counts = counted(others);
  let shared = 0;
  for (const [item, count] of counted(some)) shared += Math.min(count, counts.get(item) ?? 0);
  return shared;
}

function harmonic(precision: number | null, recall: number | null): number | null {
  if (precision === null || recall === null) return null;
  return precision === 0 || recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

const share = (part: number, whole: number) => (whole === 0 ? null : part / whole);
/** Errors by length: none in nothing is no error, some in nothing has no rate. */
const errorRate = (errors: number, length: number) => (errors === 0 ? 0 : share(errors, length));

/** Null where one side has no tokens. */
export interface TokenOverlap {
  readonly precision: number | null;
  readonly recall: number | null;
  readonly f1: number | null;
}

/** Precision, recall and F1 of tokens: as multisets, or as sets (which the evaluation of GOT-OCR 2.0 uses). */
export function tokenOverlap(
  reference: readonly string[],
  hypothesis: readonly string[],
  asSets = false,
): TokenOverlap {
  const [truth, read] = asSets ? [[...new Set(reference)], [...new Set(hypothesis)]] : [reference, hypothesis];
  const shared = sharedCount(read, truth);
  const precision = share(shared, read.length);
  const recall = share(shared, truth.length);
  return { precision, recall, f1: harmonic(precision, recall) };
}

function ngrams(tokens: readonly string[], n: number): string[] {
  return Array.from({ length: Math.max(0, tokens.length - n + 1) }, (_, i) => JSON.stringify(tokens.slice(i, i + n)));
}

/**
 * Sentence BLEU (Papineni et al. 2002), orders 1 to 4. Without smoothing, an order without a match counts as the least normal
 * double and no unigram match as 0, as in nltk; `epsilon` is what such an order's matches are taken for (nltk's method 1).
 */
export function bleu(reference: readonly string[], hypothesis: readonly string[], epsilon?: number): number {
  let sum = 0;
  for (let n = 1; n <= 4; n++) {
    const read = ngrams(hypothesis, n);
    const shared = sharedCount(read, ngrams(reference, n));
    if (n === 1 && shared === 0) return 0;
    const whole = Math.max(1, read.length);
    const missing = epsilon === undefined ? 2.2250738585072014e-308 : epsilon / whole;
    sum += Math.log(shared > 0 ? shared / whole : missing) / 4;
  }
  const brevity = hypothesis.length > reference.length ? 1 : Math.exp(1 - reference.length / hypothesis.length);
  return brevity * Math.exp(sum);
}

/** All metrics of one reading. */
export function readingMetrics(reference: string, hypothesis: string): ReadingMetrics {
  const truth = [...reference];
  const read = [...hypothesis];
  const distance = editDistance(truth, read);
  const words = wordsOf(reference);
  const wordDistance = editDistance(words, wordsOf(hypothesis));
  const tokens = tokensOf(reference, hypothesis);
  const overlap = tokenOverlap(tokens.reference, tokens.hypothesis);
  const longer = Math.max(truth.length, read.length);
  return {
    editDistance: distance,
    normalisedEditDistance: longer === 0 ? 0 : distance / longer,
    cer: errorRate(distance, truth.length),
    wordEditDistance: wordDistance,
    wer: errorRate(wordDistance, words.length),
    precision: overlap.precision ?? 0,
    recall: overlap.recall ?? 0,
    f1: overlap.f1 ?? 0,
    bleu: bleu(tokens.reference, tokens.hypothesis),
    meteor: meteor(tokens.reference, tokens.hypothesis),
  };
}
