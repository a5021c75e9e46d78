import { InputError } from '../core/errors.js';

export interface FuseOptions {
  /** How much less the second rank counts than the first: 1 / (k + rank). Default 60, as in the paper. */
  readonly k?: number;
  /** One a list, or one for each id of a list; default 1 each. */
  readonly weights?: readonly (number | readonly number[])[];
}

/**
 * Reciprocal-rank fusion of ranked lists of ids, best first (Cormack, Clarke and Büttcher, SIGIR 2009): the score of an id is the sum
 * of weight / (k + rank) over the lists that have it, ranks from 1. Scores of the lists themselves need not be comparable. Returns
 * ids by falling score, equal ones in order of appearance. Throws InputError where a list names an id twice.
 */
export function fuseRankings(
  rankings: readonly (readonly string[])[],
  { k = 60, weights = rankings.map(() => 1) }: FuseOptions = {},
): { readonly id: string; readonly score: number }[] {
  const isWeight = (weight: number | readonly number[], list: number): boolean =>
    typeof weight === 'number' ? weight >= 0 : weight.length === rankings[list]?.length && weight.every((x) => x >= 0);
  if (weights.length !== rankings.length || !weights.every(isWeight) || !(k >= 0)) {
    throw new InputError(
      `fuseRankings: expected k of at least 0 and ${rankings.length} weights of at least 0, got k ${k}, [${weights}]`,
    );
  }
  const scores = new Map<string, number>();
  rankings.forEach((ids, list) => {
    if (new Set(ids).size !== ids.length) throw new InputError(`fuseRankings: list ${list} names an id twice`);
    ids.forEach((id, i) => {
      const weight = weights[list];
      const own = typeof weight === 'number' ? weight : weight[i];
      scores.set(id, (scores.get(id) ?? 0) + own / (k + i + 1));
    });
  });
  return [...scores].map(([id, score]) => ({ id, score })).sort((a, b) => b.score - a.score);
}
