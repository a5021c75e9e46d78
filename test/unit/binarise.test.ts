import assert from 'node:assert/strict';
import { test } from 'node:test';
import { binarise } from '../../src/image/binarise.js';
import { grayFrom } from '../../src/image/gray.js';

/** Two fifths paper, the rest half something between and half ink, in a width that is no multiple of four. */
function threeLevels(between: number, ink: number) {
  const [width, height] = [203, 101];
  const data = new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) {
    const place = (i * 7919) % 100;
    data[i] = place < 40 ? 255 : place < 70 ? 255 - between : 255 - ink;
  }
  return grayFrom(width, height, data);
}

test('ink is what is darker than the cut, also where the cut is dark itself, at every pixel', () => {
  // Most of a page that is no paper counts as noise: 8 levels above it ink begins.
  for (const [between, ink] of [
    [150, 255],
    [100, 200],
    [20, 40],
    [119, 128],
    [120, 129],
    [247, 255],
  ]) {
    const image = threeLevels(between, ink);
    const { data, runs } = binarise(image);
    const expected = image.data.map((level) => (255 - level > between + 8 && level === 255 - ink ? 1 : 0));
    assert.deepEqual(data, expected, `${between}, ${ink}`);
    const inRuns = new Uint8Array(data.length);
    for (let run = 0; run < runs.length; run += 2) inRuns.fill(1, runs[run], runs[run + 1]);
    assert.deepEqual(inRuns, expected);
  }
});

test('paper may grow lighter across the page, in pages of any width', () => {
  for (const [width, height] of [
    [900, 601],
    [1, 40],
    [33, 7],
    [130, 260],
  ]) {
    const ink = (x: number, y: number) => (3 * x + 5 * y) % 11 === 0;
    const levelAt = (x: number, y: number) => 190 + Math.round(x / 18) - (ink(x, y) ? 80 : 0);
    const pixels = Array.from({ length: width * height }, (_, i) => [i % width, Math.floor(i / width)] as const);
    const image = grayFrom(
      width,
      height,
      Uint8Array.from(pixels, ([x, y]) => levelAt(x, y)),
    );
    const expected = Uint8Array.from(pixels, ([x, y]) => (ink(x, y) ? 1 : 0));
    assert.deepEqual(binarise(image).data, expected, `${width}x${height}`);
  }
});
