import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bfloat16ToFloat32, float16ToFloat32, floatToBfloat16, floatToHalf, halfToFloat } from '../../src/core/half.js';
import { createRng } from '../../src/core/rng.js';

const words = Uint16Array.from({ length: 65536 }, (_, word) => word);

/** A half by its definition, worked out in another way than the code: from the text of its bits. */
function halfByDefinition(word: number): number {
  const bits = word.toString(2).padStart(16, '0');
  const [sign, exponent, fraction] = [bits[0], Number.parseInt(bits.slice(1, 6), 2), Number.parseInt(bits.slice(6), 2)];
  const magnitude =
    exponent === 31
      ? fraction === 0
        ? Number.POSITIVE_INFINITY
        : Number.NaN
      : exponent === 0
        ? fraction / 2 ** 24
        : Number.parseInt(`1${bits.slice(6)}`, 2) * 2 ** (exponent - 25);
  return sign === '1' ? -magnitude : magnitude;
}

test('every half is widened exactly, signed zeros, subnormals, infinities and NaN among them', () => {
  const wide = float16ToFloat32(words);
  for (const word of words) {
    assert.ok(Object.is(wide[word], halfByDefinition(word)), `0x${word.toString(16)}: ${wide[word]}`);
    assert.ok(Object.is(halfToFloat(word), wide[word]));
  }
});

test('every half comes back from its float32; NaN stays NaN', () => {
  for (const word of words) {
    const back = floatToHalf(halfToFloat(word));
    if (Number.isNaN(halfToFloat(word))) assert.ok(Number.isNaN(halfToFloat(back)));
    else assert.equal(back, word);
  }
});

test('every bfloat16 is the upper half of its float32, and comes back', () => {
  const wide = bfloat16ToFloat32(words);
  const bits = new Uint32Array(wide.buffer);
  for (const word of words) {
    assert.equal(bits[word], word * 65536);
    if (Number.isNaN(wide[word]))
      assert.ok(Number.isNaN(bfloat16ToFloat32(Uint16Array.of(floatToBfloat16(wide[word])))[0]));
    else assert.equal(floatToBfloat16(wide[word]), word);
  }
});

/** Fails unless `round` takes what lies between two neighbours to the nearer one, and the middle to the even one. */
function assertRounds(round: (x: number) => number, widen: (word: number) => number, last: number): void {
  for (let word = 0; word < last; word++) {
    const [low, high] = [widen(word), widen(word + 1)];
    const middle = (low + high) / 2;
    const even = word % 2 === 0 ? word : word + 1;
    const near = Math.fround(middle + (high - middle) / 64);
    const far = Math.fround(middle - (middle - low) / 64);
    if (Math.fround(middle) === middle) assert.equal(round(middle), even, `middle above ${word}`);
    assert.equal(round(near), word + 1, `above the middle of ${word}`);
    assert.equal(round(far), word, `below the middle of ${word}`);
    assert.equal(round(-near), (word + 1) | 0x8000);
  }
}

test('rounding is to the nearest, ties to even, for every pair of neighbours', () => {
  assertRounds(floatToHalf, halfToFloat, 0x7bff);
  const widen = (word: number) => bfloat16ToFloat32(Uint16Array.of(word))[0];
  // From the smallest normal number on: below it a sixty-fourth of a step is no float32.
  for (const [start, end] of [
    [0x0080, 0x0400],
    [0x3f00, 0x4100],
    [0x7e00, 0x7f7e],
  ]) {
    assertRounds(
      (x) => (x < 0 ? (floatToBfloat16(x) - start) | 0x8000 : floatToBfloat16(x) - start),
      (word) => widen(word + start),
      end - start,
    );
  }
});

test('what is too large becomes infinite, what is too small zero', () => {
  assert.equal(floatToHalf(65519.996), 0x7bff);
  assert.equal(floatToHalf(65520), 0x7c00);
  assert.equal(floatToHalf(-1e30), 0xfc00);
  assert.equal(floatToHalf(2 ** -25), 0);
  assert.equal(floatToHalf(-(2 ** -25) * 1.0001), 0x8001);
  assert.equal(floatToBfloat16(3.4028235e38), 0x7f80);
  assert.equal(floatToBfloat16(Number.NEGATIVE_INFINITY), 0xff80);
});

test('arrays at odd offsets are converted in place', () => {
  const rng = createRng(5);
  const source = Uint16Array.from({ length: 33 }, () => rng.integer(0, 0x7c00));
  const out = new Float32Array(40);
  float16ToFloat32(source.subarray(3), out.subarray(5, 35));
  bfloat16ToFloat32(source.subarray(0, 2), out.subarray(36, 38));
  assert.equal(out[5], halfToFloat(source[3]));
  assert.equal(out[34], halfToFloat(source[32]));
  assert.equal(out[36], bfloat16ToFloat32(source)[0]);
  assert.deepEqual([out[4], out[35], out[38]], [0, 0, 0]);
});
