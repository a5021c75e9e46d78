/** Levenshtein distance between two texts in characters (code points). */
export function editDistance(a: string, b: string): number {
  const [x, y] = [[...a], [...b]];
  let row = Array.from({ length: y.length + 1 }, (_, j) => j);
  x.forEach((char, i) => {
    const next = [i + 1];
    for (let j = 0; j < y.length; j++)
      next.push(Math.min(row[j + 1] + 1, next[j] + 1, row[j] + (char === y[j] ? 0 : 1)));
    row = next;
  });
  return row[y.length];
}
