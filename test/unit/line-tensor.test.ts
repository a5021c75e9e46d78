import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grayFrom } from '../../src/image/gray.js';
import { lineTensor } from '../../src/image/line-tensor.js';

const size = { width: 12, height: 6 };
/** Paper of one level with a bar of another, two pixels wide. */
const barOf = (paper: number, ink: number) =>
  grayFrom(
    10,
    6,
    Uint8Array.from({ length: 60 }, (_, i) => (i % 10 === 4 || i % 10 === 5 ? ink : paper)),
  );

test('paper is 0 and ink 2 whatever their levels, dark or light, in every channel; the rest of the canvas is paper', () => {
  const lines = [barOf(255, 0), barOf(200, 90), barOf(20, 240)];
  const { shape, data } = lineTensor(lines, size);
  assert.deepEqual(shape, [3, 3, 6, 12]);
  data.forEach((value, i) => {
    const x = i % 12;
    assert.equal(value, x === 4 || x === 5 ? 2 : 0, `value ${i}`);
  });
});

test('faint differences stay faint, and a blank line is nothing', () => {
  const [faint, blank] = [barOf(250, 244), barOf(128, 128)];
  const { data } = lineTensor([faint, blank], size);
  assert.equal(data[4], 0.5); // 6 of the 24 levels that full ink is from paper at least, times 2
  assert.ok(data.subarray(3 * 72).every((value) => value === 0));
});

test('a line of another height or too wide is refused', () => {
  const wide = grayFrom(13, 6, new Uint8Array(78));
  assert.throws(() => lineTensor([wide], size), { name: 'InputError', message: /at most 12x6 pixels, got 13x6/ });
  assert.throws(() => lineTensor([grayFrom(4, 5, new Uint8Array(20))], size), /got 4x5/);
});
