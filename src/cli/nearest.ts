import { editDistance } from '../text/metrics.js';

/** `; did you mean X?` for the known name that a mistyped one is nearest to; empty where more than half would have to be another. */
export function didYouMean(name: string, known: readonly string[], prefix = ''): string {
  const near = known
    .map((other) => ({ other, away: other.startsWith(name) ? 0 : editDistance(name, other) }))
    .filter(({ other, away }) => name.length > 1 && 2 * away <= other.length)
    .sort((a, b) => a.away - b.away);
  return near.length > 0 ? `; did you mean ${prefix}${near[0].other}?` : '';
}
