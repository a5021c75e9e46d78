import { porterStem } from './porter.js';

interface Numbered {
  readonly index: number;
  readonly word: string;
}

/** Pairs equal words from the end; what is paired is taken out of both lists. */
function pairFromEnd(hypothesis: Numbered[], reference: Numbered[]): [number, number][] {
  const pairs: [number, number][] = [];
  for (let i = hypothesis.length - 1; i >= 0; i--) {
    for (let j = reference.length - 1; j >= 0; j--) {
      if (hypothesis[i].word !== reference[j].word) continue;
      pairs.push([hypothesis[i].index, reference[j].index]);
      hypothesis.splice(i, 1);
      reference.splice(j, 1);
      break;
    }
  }
  return pairs;
}

/**
 * METEOR (Banerjee and Lavie 2005) of two token lists, as nltk computes it without WordNet: alpha 0.9, beta 3, gamma 0.5, equal
 * words first, then equal Porter stems, all in lower case.
 */
export function meteor(referenceWords: readonly string[], hypothesisWords: readonly string[]): number {
  const numbered = (words: readonly string[]) => words.map((word, index) => ({ index, word: word.toLowerCase() }));
  const reference = numbered(referenceWords);
  const hypothesis = numbered(hypothesisWords);
  const exact = pairFromEnd(hypothesis, reference);
  const stemmed = (words: Numbered[]) => words.map(({ index, word }) => ({ index, word: porterStem(word) }));
  const pairs = [...exact, ...pairFromEnd(stemmed(hypothesis), stemmed(reference))].sort((a, b) => a[0] - b[0]);
  if (pairs.length === 0) return 0;
  const precision = pairs.length / hypothesisWords.length;
  const recall = pairs.length / referenceWords.length;
  const mean = (precision * recall) / (0.9 * precision + 0.1 * recall);
  let chunks = 1;
  for (let i = 1; i < pairs.length; i++) {
    if (pairs[i][0] !== pairs[i - 1][0] + 1 || pairs[i][1] !== pairs[i - 1][1] + 1) chunks++;
  }
  return (1 - 0.5 * (chunks / pairs.length) ** 3) * mean;
}
