/** Ranking of texts by words. */

/** Words of a text: runs of letters and digits, upper and lower case alike. */
const wordsOf = (text: string): string[] =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Okapi BM25's usual constants: how soon more of a word counts no more, and how much length counts. */
const [k1, b] = [1.2, 0.75];

/** So much of a query a text must have. */
const leastPart = 1 / 3;

export interface RankedText {
  readonly id: string;
  /** 1: the text has all that the query says; above 0: more than a third of it. What counts is how telling words are, not how many. */
  readonly strength: number;
}

/**
 * Texts that say what a query says, best first, at most `top` (Okapi BM25, Robertson and Zaragoza 2009, with the inverse document
 * frequency that is never negative). A text must have more than a third of the query by that frequency: a word that no text has weighs
 * most, so of "a banana" the "a" finds nothing. Equal ones in the order of `texts`.
 */
export function rankTexts(texts: ReadonlyMap<string, string>, query: string, top: number): RankedText[] {
  const wanted = [...new Set(wordsOf(query))];
  const documents = [...texts].flatMap(([id, text]) => {
    const words = wordsOf(text);
    const counts = wanted.map((word) => words.filter((each) => each === word).length);
    return words.length === 0 ? [] : [{ id, length: words.length, counts }];
  });
  const mean = documents.reduce((sum, { length }) => sum + length, 0) / Math.max(1, documents.length);
  const weights = wanted.map((_, w) => {
    const having = documents.filter(({ counts }) => counts[w] > 0).length;
    return Math.log(1 + (documents.length - having + 0.5) / (having + 0.5));
  });
  const whole = weights.reduce((sum, weight) => sum + weight, 0);
  const strengthOf = (counts: readonly number[]) => {
    const part = counts.reduce((sum, count, w) => sum + (count > 0 ? weights[w] : 0), 0) / whole;
    return (part - leastPart) / (1 - leastPart);
  };
  const scoreOf = ({ counts, length }: (typeof documents)[number]) =>
    counts.reduce((sum, count, w) => {
      const saturated = (count * (k1 + 1)) / (count + k1 * (1 - b + (b * length) / Math.max(1, mean)));
      return sum + weights[w] * saturated;
    }, 0);
  return documents
    .map((document) => ({ id: document.id, strength: strengthOf(document.counts), score: scoreOf(document) }))
    .filter(({ strength }) => strength > 0)
    .sort((x, y) => y.score - x.score)
    .slice(0, top)
    .map(({ id, strength }) => ({ id, strength }));
}
