/** Ranking of texts by words. */

/** Words of a text: runs of letters and digits, upper and lower case alike. */
const wordsOf = (text: string): string[] =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .match(/[\p{L}\p{N}]+/gu) ?? [];

/** Okapi BM25's usual constants: how soon more of a word counts no more, and how much length counts. */
const [k1, b] = [1.2, 0.75];

/** Texts whose words have been found: a query takes time by the texts that have its words. */
export interface WordIndex {
  /** Ids of texts that have at least one of the query's words, best first, at most `top`. Equal ones in the order of the texts. */
  rank(query: string, top: number): string[];
}

interface Posting {
  readonly text: number;
  count: number;
}

/**
 * Finds the words of texts; `pause` is waited for after each. Ranks by Okapi BM25 (Robertson and Zaragoza 2009) with the inverse
 * document frequency that is never negative.
 */
export async function indexWords(
  texts: ReadonlyMap<string, string>,
  pause: () => Promise<void> = async () => undefined,
): Promise<WordIndex> {
  const ids = [...texts.keys()];
  const lengths: number[] = [];
  const postings = new Map<string, Posting[]>();
  for (const text of texts.values()) {
    const own = wordsOf(text);
    for (const word of own) addTo(postings, word, lengths.length);
    lengths.push(own.length);
    await pause();
  }
  const mean = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length);
  return {
    rank: (query, top) => {
      const scores = new Map<number, number>();
      for (const word of new Set(wordsOf(query))) {
        const having = postings.get(word) ?? [];
        const weight = Math.log(1 + (ids.length - having.length + 0.5) / (having.length + 0.5));
        for (const { text, count } of having) {
          const saturated = (count * (k1 + 1)) / (count + k1 * (1 - b + (b * lengths[text]) / Math.max(1, mean)));
          scores.set(text, (scores.get(text) ?? 0) + weight * saturated);
        }
      }
      return [...scores]
        .sort(([x, scoreX], [y, scoreY]) => scoreY - scoreX || x - y)
        .slice(0, top)
        .map(([text]) => ids[text]);
    },
  };
}

function addTo(postings: Map<string, Posting[]>, word: string, text: number): void {
  const known = postings.get(word);
  if (!known) postings.set(word, [{ text, count: 1 }]);
  else if (known[known.length - 1].text === text) known[known.length - 1].count++;
  else known.push({ text, count: 1 });
}
