import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createRng } from '../../src/core/rng.js';
import { bytesOf, grayFrom, grayOfPixels, histogramOf, resizeGray, resizePlane } from '../../src/image/gray.js';
import { workIn } from '../../src/image/kernels.js';
import { code, hash } from '../../src/image/kernels-wasm.js';
import { pixelsFrom } from '../../src/image/pixels.js';
import { straighten } from '../../src/image/skew.js';

const rng = createRng(4);
const bytes = (count: number) => Uint8Array.from({ length: count }, () => rng.integer(0, 256));
/** Sides that no vector divides, and larger ones than what is worked on at a time. */
const sizes = [
  [1, 1],
  [1, 40],
  [37, 1],
  [16, 16],
  [203, 101],
  [701, 307],
] as const;

test('the compiled kernels are those of kernels/pixels.ts: after a change, npm run kernels', () => {
  const source = readFileSync(fileURLToPath(new URL('../../../kernels/pixels.ts', import.meta.url)));
  assert.equal(createHash('sha256').update(source).update(code).digest('hex'), hash);
});

test('gray is Pillow’s luma of every pixel', () => {
  for (const [width, height] of sizes) {
    const data = bytes(3 * width * height);
    const { data: gray } = grayOfPixels(pixelsFrom(width, height, data));
    const expected = gray.map((_, i) => {
      const [r, g, b] = data.subarray(3 * i, 3 * i + 3);
      return (19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16;
    });
    assert.deepEqual(gray, expected, `${width}x${height}`);
  }
});

test('a histogram counts every level, or every step’s', () => {
  for (const [width, height] of sizes) {
    // Mostly 0 as where paper was taken away, and not.
    for (const levels of [bytes(width * height), bytes(width * height).map((level) => (level < 240 ? 0 : level))]) {
      for (const step of [1, 2, 3]) {
        const expected = new Uint32Array(256);
        for (let i = 0; i < levels.length; i += step) expected[levels[i]]++;
        assert.deepEqual(histogramOf(levels, step), expected, `${width}x${height} by ${step}`);
      }
    }
  }
});

/** Weights of source samples for one output sample: a triangle as wide as the scale asks for. */
function triangle(from: number, to: number, i: number): [number, number][] {
  const scale = from / to;
  const support = Math.max(1, scale);
  const centre = (i + 0.5) * scale;
  const all = Array.from({ length: from }, (_, at): [number, number] => [
    at,
    Math.max(0, 1 - Math.abs((at + 0.5 - centre) / support)),
  ]);
  const sum = all.reduce((total, [, weight]) => total + weight, 0);
  return all.filter(([, weight]) => weight > 0).map(([at, weight]) => [at, weight / sum]);
}

test('resizing weighs samples by a triangle, along both axes, from bytes and from floats', () => {
  for (const [from, to] of [
    [[41, 23], { width: 29, height: 24 }],
    [[90, 60], { width: 17, height: 7 }],
    [[5, 3], { width: 23, height: 11 }],
    [[1, 9], { width: 3, height: 1 }],
    [[64, 1], { width: 64, height: 5 }],
  ] as const) {
    const size = { width: from[0], height: from[1] };
    const plane = bytes(size.width * size.height);
    const expected = Float64Array.from({ length: to.width * to.height }, (_, i) => {
      let sum = 0;
      for (const [y, down] of triangle(size.height, to.height, Math.floor(i / to.width))) {
        for (const [x, across] of triangle(size.width, to.width, i % to.width))
          sum += down * across * plane[y * size.width + x];
      }
      return sum;
    });
    const what = `${size.width}x${size.height} to ${to.width}x${to.height}`;
    for (const source of [plane, Float32Array.from(plane)]) {
      const resized = resizePlane(source, size, to);
      assert.equal(resized.length, expected.length);
      for (const [i, value] of resized.entries()) assert.ok(Math.abs(value - expected[i]) < 1e-3, `${what}: ${i}`);
    }
    const { data } = resizeGray(grayFrom(size.width, size.height, plane), to);
    for (const [i, value] of data.entries()) assert.ok(Math.abs(value - expected[i]) < 0.501, `${what}: ${i}`);
  }
});

test('what lies behind a row is no part of it, whatever it is', () => {
  const row = Float32Array.from([1, 2, 3, 4, 5]);
  const { buffer } = workIn(1 << 16);
  new Float32Array(buffer).fill(Number.NaN);
  for (const value of resizePlane(row, { width: 5, height: 1 }, { width: 3, height: 2 })) assert.ok(value > 0);
});

test('floats round to the nearest byte and are cut at both ends', () => {
  const values = [-1e9, -0.6, -0.4, 0, 0.49, 0.5, 1.5, 254.4, 254.6, 255.4, 256, 1e9, Number.NaN];
  assert.deepEqual([...bytesOf(Float32Array.from(values))], [0, 0, 0, 0, 0, 1, 2, 254, 255, 255, 255, 255, 0]);
});

test('a page is turned about its middle; what comes in from outside is paper', () => {
  const [width, height, degrees, paper] = [61, 47, 5, 7];
  const data = bytes(width * height);
  const turned = straighten(grayFrom(width, height, data), degrees, paper);
  const [sin, cos] = [Math.sin((degrees * Math.PI) / 180), Math.cos((degrees * Math.PI) / 180)];
  for (let i = 0; i < data.length; i++) {
    const [dx, dy] = [(i % width) + 0.5 - width / 2, Math.floor(i / width) + 0.5 - height / 2];
    const [x, y] = [dx * cos - dy * sin + width / 2 - 0.5, dx * sin + dy * cos + height / 2 - 0.5];
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const at = (column: number, row: number) => data[(top + row) * width + left + column];
    const mix = (a: number, b: number, part: number) => a + (b - a) * part;
    const inside = left >= 0 && top >= 0 && left + 1 < width && top + 1 < height;
    const level = mix(mix(at(0, 0), at(1, 0), x - left), mix(at(0, 1), at(1, 1), x - left), y - top);
    assert.ok(Math.abs(turned.data[i] - (inside ? level : paper)) < 0.51, `${i % width}, ${Math.floor(i / width)}`);
  }
});

test('more memory than there is, is an error that says so', () => {
  assert.throws(() => workIn(2 ** 33), { name: 'VaryclipError', message: /WebAssembly has no memory: .*ulimit -v/ });
  assert.ok(workIn(100).buffer.byteLength > 0);
});

test('memory of a large page goes when little is asked for again', () => {
  const large = workIn(40 << 20).buffer.byteLength;
  assert.ok(workIn(100).buffer.byteLength < large);
});
