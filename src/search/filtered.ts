import { type Condition, matcherOf } from './conditions.js';
import type { Hit } from './store.js';

/** Conditions that a database can be asked, and those that only we know: patterns. */
export function splitConditions(where: readonly Condition[]): {
  readonly asked: readonly Condition[];
  readonly own: readonly Condition[];
} {
  const isOwn = ({ operator }: Condition) => operator === '~';
  return { asked: where.filter((each) => !isOwn(each)), own: where.filter(isOwn) };
}

/** Hits that meet our own conditions: `fetch` gives the best so many, and is asked for more as long as too few of them do. */
export async function searchFiltered(
  fetch: (limit: number) => Promise<readonly Hit[]>,
  top: number,
  own: readonly Condition[],
): Promise<Hit[]> {
  const matches = matcherOf(own);
  for (let limit = own.length === 0 ? top : 4 * top; ; limit *= 4) {
    const hits = await fetch(limit);
    const found = hits.filter(({ info }) => matches(info));
    if (found.length >= top || hits.length < limit) return found.slice(0, top);
  }
}
