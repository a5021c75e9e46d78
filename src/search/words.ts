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

/** Texts whose words have been found: a query takes time by the texts that have its words. */
export interface WordIndex {
  /**
   * Texts that say what a query says, best first, at most `top`. A text must have more than a third of the query by how telling its
   * words are: a word that no text has weighs most, so of "a banana" the "a" finds nothing. Equal ones in the order of the texts.
   */
  rank(query: string, top: number): RankedText[];
}

interface Posting {
  readonly text: number;
  count: number;
}

/** What a query has found of one text. */
interface Match {
  score: number;
  /** The summed weights of the words that it has. */
  weight: number;
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
  const count = lengths.filter((length) => length > 0).length;
  const mean = lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, count);
  return {
    rank: (query, top) => {
      const found = new Map<number, Match>();
      let whole = 0;
      for (const word of new Set(wordsOf(query))) {
        const having = postings.get(word) ?? [];
        const weight = Math.log(1 + (count - having.length + 0.5) / (having.length + 0.5));
        whole += weight;
        for (const posting of having) {
          const match = found.get(posting.text) ?? { score: 0, weight: 0 };
          found.set(posting.text, match);
          const length = lengths[posting.text] / Math.max(1, mean);
          match.score += (weight * posting.count * (k1 + 1)) / (posting.count + k1 * (1 - b + b * length));
          match.weight += weight;
        }
      }
      return [...found]
        .map(([text, match]) => ({ ...match, text, strength: (match.weight / whole - leastPart) / (1 - leastPart) }))
        .filter(({ strength }) => strength > 0)
        .sort((x, y) => y.score - x.score || x.text - y.text)
        .slice(0, top)
        .map(({ text, strength }) => ({ id: ids[text], strength }));
    },
  };
}

function addTo(postings: Map<string, Posting[]>, word: string, text: number): void {
  const known = postings.get(word);
  if (!known) postings.set(word, [{ text, count: 1 }]);
  else if (known[known.length - 1].text === text) known[known.length - 1].count++;
  else known.push({ text, count: 1 });
}
