import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPageText, planLines } from '../../src/infer/read-lines.js';
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

test('texts are joined with spaces, lines and paragraphs, each line as soon as its last piece is there', () => {
  const plan = planLines(page, size);
  const joined = createPageText(plan);
  const { lines } = joined;
  let text = '';
  plan.pieces.forEach(({ line }, i) => {
    const added = joined.push({ text: `p${i}`, confidence: i % 2 });
    assert.equal(added !== '', plan.pieces[i + 1]?.line !== line);
    text += added;
  });
  assert.equal(lines.length, plan.page.lines.length);
  assert.deepEqual(
    text.split(/\n+/),
    lines.map((line) => line.text),
  );
  assert.deepEqual(text.split(/\s+/).join(''), plan.pieces.map((_, i) => `p${i}`).join(''));
  const paragraphs = new Set(lines.map(({ block, paragraph }) => `${block} ${paragraph}`)).size;
  assert.equal(text.split('\n\n').length, paragraphs);
  for (const { text: own, confidence } of lines) {
    const pieces = own.match(/p\d+/g) ?? [];
    const sure = pieces.filter((piece) => Number(piece.slice(1)) % 2 === 1).join('').length;
    assert.ok(Math.abs(confidence - sure / pieces.join('').length) < 1e-12, own);
  }
  for (const { box } of lines) assert.ok(box.left >= 0 && box.top >= 0 && box.left + box.width <= page.width + 1);
});

test('a blank page has no lines and no text', () => {
  const blank = { ...page, data: new Uint8Array(data.length).fill(255) };
  const plan = planLines(blank, size);
  assert.deepEqual([plan.pieces, createPageText(plan).lines], [[], []]);
});
