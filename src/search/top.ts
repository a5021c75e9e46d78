/** The best of many scores: a heap whose root is the worst of those kept. */
export interface TopScores {
  /** What a score must exceed to be kept. */
  readonly bound: number;
  offer(score: number, row: number): void;
  /** By falling score, equal ones by row. */
  sorted(): { readonly score: number; readonly row: number }[];
}

export function createTop(count: number): TopScores {
  const scores: number[] = [];
  const rows: number[] = [];
  const isWorse = (a: number, b: number) => scores[a] < scores[b] || (scores[a] === scores[b] && rows[a] > rows[b]);
  const swap = (a: number, b: number) => {
    [scores[a], scores[b]] = [scores[b], scores[a]];
    [rows[a], rows[b]] = [rows[b], rows[a]];
  };
  const sink = () => {
    for (let at = 0; ; ) {
      let worst = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < scores.length && isWorse(child, worst)) worst = child;
      if (worst === at) return;
      swap(at, worst);
      at = worst;
    }
  };
  const rise = () => {
    for (let at = scores.length - 1; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!isWorse(at, parent)) return;
      swap(at, parent);
      at = parent;
    }
  };
  return {
    get bound() {
      return scores.length < count ? Number.NEGATIVE_INFINITY : scores[0];
    },
    offer: (score, row) => {
      if (scores.length < count) {
        scores.push(score);
        rows.push(row);
        rise();
      } else if (score > scores[0] || (score === scores[0] && row < rows[0])) {
        scores[0] = score;
        rows[0] = row;
        sink();
      }
    },
    sorted: () =>
      scores.map((score, i) => ({ score, row: rows[i] })).sort((a, b) => b.score - a.score || a.row - b.row),
  };
}
