import assert from 'node:assert/strict';

export interface Tolerance {
  atol?: number;
  rtol?: number;
}

/** Fails unless |actual - expected| <= atol + rtol·|expected| everywhere; names the worst element. */
export function assertAllclose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol = 1e-6, rtol = 1e-3 }: Tolerance = {},
  what = 'values',
): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  let worst = -1;
  let worstExcess = 0;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i]) || actual[i] === expected[i]) continue;
    const excess = Math.abs(actual[i] - expected[i]) - (atol + rtol * Math.abs(expected[i]));
    if (Number.isNaN(excess) || excess > worstExcess) {
      worst = i;
      worstExcess = Number.isNaN(excess) ? Number.POSITIVE_INFINITY : excess;
    }
  }
  assert.equal(
    worst,
    -1,
    `${what}: at index ${worst} of ${expected.length}: got ${actual[worst]}, expected ${expected[worst]} (atol ${atol}, rtol ${rtol})`,
  );
}
