import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinLines, planLines } from '../../src/infer/read-lines.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';

const renderer = await createTextRenderer();
const rendered = renderer.renderPage({ seed: 5, index: 1, columns: 1, pt: 11, dpi: 150, split: 'train', skew: 0 });
const { width, height, data: gray } = rendered.image;
const data = new Uint8Array(width * height * 3);
for (let i = 0; i < gray.length; i++) data.fill(gray[i], 3 * i, 3 * i + 3);
const page = { width, height, channels: 3, data } as const;
const size = { width: 384, height: 32 };

test('pieces fit the input, in reading order, and every line of the page is there', () => {
  const { page: found, pieces } = planLines(page, size);
  assert.ok(
    Math.abs(found.lines.length - rendered.lines.length) <= 1,
    `${found.lines.length} of ${rendered.lines.length}`,
  );
  assert.ok(pieces.length >= found.lines.length);
  for (const { image } of pieces) assert.ok(image.height === 32 && image.width <= 384);
  const order = pieces.map(({ line }) => line);
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
});

test('texts are joined with spaces, lines and paragraphs', () => {
  const plan = planLines(page, size);
  const { text, lines } = joinLines(
    plan,
    plan.pieces.map((_, i) => `p${i}`),
  );
  assert.equal(lines.length, plan.page.lines.length);
  assert.deepEqual(
    text.split(/\n+/),
    lines.map((line) => line.text),
  );
  assert.deepEqual(text.split(/\s+/).join(''), plan.pieces.map((_, i) => `p${i}`).join(''));
  const paragraphs = new Set(lines.map(({ block, paragraph }) => `${block} ${paragraph}`)).size;
  assert.equal(text.split('\n\n').length, paragraphs);
  for (const { box } of lines) assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= page.width + 1);
});

test('a blank page has no lines and no text', () => {
  const blank = { ...page, data: new Uint8Array(data.length).fill(255) };
  const plan = planLines(blank, size);
  assert.deepEqual(joinLines(plan, []), { text: '', lines: [] });
});
