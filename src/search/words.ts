/** Ranking of texts by words. */

/** Words of a text: runs of letters and digits, upper and lower case alike. */
const wordsOf = (text: string): string[] =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Okapi BM25's usual constants: how soon more of a word counts no more, and how much length counts. */
const [k1, b] = [1.2, 0.75];

/**
 * Ids of texts that have at least one of the query's words, best first, at most `top` (Okapi BM25, Robertson and Zaragoza 2009, with
 * the inverse document frequency that is never negative). Equal ones in the order of `texts`.
 */
export function rankTexts(texts: ReadonlyMap<string, string>, query: string, top: number): string[] {
  const wanted = [...new Set(wordsOf(query))];
  const documents = [...texts].map(([id, text]) => {
    const words = wordsOf(text);
    return { id, length: words.length, counts: wanted.map((word) => words.filter((each) => each === word).length) };
  });
  const mean = documents.reduce((sum, { length }) => sum + length, 0) / Math.max(1, documents.length);
  const weights = wanted.map((_, w) => {
    const having = documents.filter(({ counts }) => counts[w] > 0).length;
    return Math.log(1 + (documents.length - having + 0.5) / (having + 0.5));
  });
  const scoreOf = ({ counts, length }: (typeof documents)[number]) =>
    counts.reduce((sum, count, w) => {
      const saturated = (count * (k1 + 1)) / (count + k1 * (1 - b + (b * length) / Math.max(1, mean)));
      return sum + weights[w] * saturated;
    }, 0);
  return documents
    .map((document) => ({ id: document.id, score: scoreOf(document) }))
    .filter(({ score }) => score > 0)
    .sort((x, y) => y.score - x.score)
    .slice(0, top)
    .map(({ id }) => id);
}
