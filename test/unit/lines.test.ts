import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import type { PageOptions, RenderedPage } from '../../src/data/rendered/page.js';
import { grayFrom } from '../../src/image/gray.js';
import { boxOnPage, cropWithMargin, findLines } from '../../src/image/lines.js';
import type { Box } from '../../src/image/pixels.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';

const renderer = await createTextRenderer();

function overlap(a: Box, b: Box): number {
  const width = Math.min(a.left + a.width, b.left + b.width) - Math.max(a.left, b.left);
  const height = Math.min(a.top + a.height, b.top + b.height) - Math.max(a.top, b.top);
  const both = Math.max(0, width) * Math.max(0, height);
  return both / (a.width * a.height + b.width * b.height - both);
}

/** Every line found once, in reading order, where it was drawn; and the paragraphs nearly so. */
function assertFound(page: RenderedPage, what: string): void {
  const found = findLines(page.image);
  assert.ok(Math.abs(found.skew - page.skew) < 0.3, `${what}: skew ${found.skew}, drawn with ${page.skew}`);
  assert.equal(found.lines.length, page.lines.length, `${what}: number of lines`);
  let breaks = 0;
  found.lines.forEach((line, i) => {
    const share = overlap(boxOnPage(line.box, found), page.lines[i].box);
    assert.ok(share > 0.45, `${what}: line ${i} "${page.lines[i].text}" overlaps by ${share}`);
    if (i === 0) return;
    const begins = line.paragraph !== found.lines[i - 1].paragraph;
    if (begins !== (page.lines[i].paragraph !== page.lines[i - 1].paragraph)) breaks++;
  });
  assert.ok(breaks <= 0.1 * page.lines.length, `${what}: ${breaks} wrong breaks of paragraphs`);
}

const cases: readonly (PageOptions & { name: string })[] = [
  { name: 'one column', columns: 1, dpi: 150, families: ['tinos'] },
  { name: 'two columns', columns: 2, dpi: 150, families: ['arimo'] },
  { name: 'two columns under a headline', columns: 2, dpi: 200, families: ['lora'], headings: true },
  { name: 'small', columns: 1, dpi: 100, pt: 11, families: ['noto-serif'] },
  { name: 'large', columns: 2, dpi: 300, pt: 14, maxLines: 20, families: ['roboto'] },
  { name: 'turned', columns: 2, dpi: 150, skew: 2.5, families: ['pt-serif'] },
  { name: 'turned the other way', columns: 1, dpi: 150, skew: -4, families: ['open-sans'] },
  { name: 'light on dark', columns: 1, dpi: 150, families: ['lato'], effects: { ink: 230, paper: 25, noise: 4 } },
  {
    name: 'unevenly lit, noisy',
    columns: 2,
    dpi: 150,
    families: ['gelasio'],
    effects: { ink: 60, paper: 210, slopeX: 60, slopeY: 40, noise: 9, specks: 0.0005 },
  },
  { name: 'fixed pitch', columns: 1, dpi: 150, families: ['cousine'] },
];

for (const { name, ...options } of cases) {
  test(`lines of a page: ${name}`, () => {
    assertFound(renderer.renderPage({ seed: 5, index: 1, ...options }), name);
  });
}

test('segments cover a line, keep to the aspect and cut between words', () => {
  const page = renderer.renderPage({ seed: 6, index: 0, columns: 1, dpi: 150, families: ['tinos'] });
  const { lines } = findLines(page.image, { maxAspect: 12 });
  for (const [i, { box, segments }] of lines.entries()) {
    assert.equal(segments[0].spaceBefore, false);
    assert.equal(segments[0].box.left, box.left);
    const last = segments[segments.length - 1].box;
    assert.equal(last.left + last.width, box.left + box.width);
    for (const [k, segment] of segments.entries()) {
      assert.ok(segment.box.width <= 12 * segment.box.height + 1);
      if (k > 0) assert.ok(segment.box.left >= segments[k - 1].box.left + segments[k - 1].box.width);
    }
    // A text without a space has no space to cut at.
    const spaces = page.lines[i].text.split(' ').length - 1;
    assert.ok(segments.filter(({ spaceBefore }) => spaceBefore).length <= spaces, page.lines[i].text);
  }
});

test('rules, frames and pictures are not lines', () => {
  const page = renderer.renderPage({ seed: 7, index: 0, columns: 1, dpi: 100, maxLines: 12, families: ['tinos'] });
  const { width, height } = page.image;
  const data = page.image.data.slice();
  const fill = (left: number, top: number, right: number, bottom: number, level: (x: number, y: number) => number) => {
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) data[y * width + x] = level(x, y);
  };
  fill(60, height - 60, width - 60, height - 58, () => 0);
  fill(100, height - 420, 500, height - 120, (x, y) => 60 + ((x * y) % 90));
  assert.equal(findLines(grayFrom(width, height, data)).lines.length, page.lines.length);
});

test('a blank page has no lines', () => {
  assert.deepEqual(findLines(grayFrom(200, 300, new Uint8Array(60000).fill(250))).lines, []);
  assert.deepEqual(findLines(grayFrom(1, 1, new Uint8Array(1))).lines, []);
});

test('a crop has its margin, also at the edge of the page', () => {
  const page = grayFrom(
    20,
    20,
    Uint8Array.from({ length: 400 }, (_, i) => i % 20),
  );
  const crop = cropWithMargin(page, { left: 0, top: 0, width: 10, height: 10 }, 0.2);
  assert.equal(crop.width, 14);
  assert.deepEqual([...crop.data.slice(0, 5)], [0, 0, 0, 1, 2]);
  for (const [left, first, last] of [
    [-30, 0, 0],
    [15, 13, 19],
    [40, 19, 19],
  ]) {
    const { data, width } = cropWithMargin(page, { left, top: 3, width: 10, height: 10 }, 0.2);
    assert.deepEqual([data[0], data[width - 1]], [first, last], `${left}`);
  }
});

test('a blank, a black and a gray page and pages of noise have no lines', () => {
  const rng = createRng(4, 4);
  const [width, height] = [300, 400];
  const pages: Record<string, () => number> = {
    blank: () => 255,
    black: () => 0,
    gray: () => 128,
    'even noise': () => 256 * rng.next(),
    'grainy paper': () => 200 + 20 * (rng.next() + rng.next() + rng.next()),
    pepper: () => (rng.next() < 0.1 ? 0 : 255),
    'noise in the dark': () => 30 * rng.next(),
  };
  for (const [name, level] of Object.entries(pages)) {
    const page = grayFrom(width, height, Uint8Array.from({ length: width * height }, level));
    assert.deepEqual(findLines(page).lines, [], name);
  }
});
