/** Passages that decoding repeats over and over. */

/** The longest passage that is looked for, in tokens. */
const longestPeriod = 96;
/** A loop is a passage at least four times, and at least so many tokens. */
const [leastTimes, leastSpan] = [4, 64];

/** How many of the last ids are what stood `period` places before them. */
function repeats(ids: readonly number[], period: number): number {
  let at = ids.length - 1;
  while (at >= period && ids[at] === ids[at - period]) at--;
  return ids.length - 1 - at;
}

/** A loop at the end of ids: its passage, and all that repeats it. */
export interface Loop {
  readonly period: number;
  /** Where the second passage begins: what stands before is not repeated yet. */
  readonly start: number;
}

/** The loop that `ids` end in: a passage of up to 96 tokens, at least four times and over at least 64 tokens. */
export function loopAtEnd(ids: readonly number[]): Loop | undefined {
  for (let period = 1; period <= longestPeriod; period++) {
    const span = Math.max(leastSpan, leastTimes * period);
    if (span > ids.length) return undefined;
    const repeated = repeats(ids, period);
    if (repeated >= span - period) return { period, start: ids.length - repeated };
  }
  return undefined;
}

/** How many of the last ids may turn out to repeat what is before them: no loop begins its second passage earlier. */
export function repeatedTail(ids: readonly number[]): number {
  let most = 0;
  for (let period = 1; period <= Math.min(longestPeriod, ids.length - 1); period++) {
    most = Math.max(most, repeats(ids, period));
  }
  return most;
}
