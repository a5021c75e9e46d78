import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alphabet } from '../../src/data/rendered/alphabet.js';
import { fontFamilies, heldOutFamilies } from '../../src/data/rendered/faces.js';
import { isHeldOut } from '../../src/data/rendered/lexicon.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';
import { loadLexicon } from '../../src/node/rendered/words.js';

test('the alphabet has each character once', () => {
  assert.equal(new Set(alphabet).size, alphabet.length);
  for (const character of ' ~Àÿ“”‘’„«»–—…•€£¥§©°±×·¡¿ŒœŠšŽžŸ') assert.ok(alphabet.includes(character), character);
});

test('words of the two splits do not meet', () => {
  const { common, rare, foreign } = loadLexicon('train');
  for (const word of [...common, ...rare, ...foreign]) assert.ok(!isHeldOut(word), word);
  const heldOut = loadLexicon('heldOut');
  assert.ok(heldOut.rare.length > 5000 && heldOut.accented.length > 500);
  for (const word of heldOut.rare) assert.ok(isHeldOut(word) || word.length <= 3, word);
});

test('every face draws all of ASCII, and most of the rest', async () => {
  const renderer = await createTextRenderer();
  assert.ok(fontFamilies.length >= 50 && heldOutFamilies.length >= 2);
  for (const split of ['train', 'heldOut'] as const) {
    for (const face of renderer.faces(split)) {
      assert.equal(heldOutFamilies.includes(face.family.name), split === 'heldOut');
      const missing = [...alphabet].filter((character) => !face.charset.has(character));
      assert.ok(
        missing.every((character) => character > '~') && missing.length < 20,
        `${face.id}: ${missing.join('')}`,
      );
    }
  }
});

test('a line is a function of seed and index', async () => {
  const one = await createTextRenderer();
  const two = await createTextRenderer();
  const lines = Array.from({ length: 20 }, (_, index) => one.renderLine({ seed: 3, index }));
  for (const line of lines.toReversed()) assert.deepEqual(two.renderLine({ seed: 3, index: line.index }), line);
  assert.notEqual(one.renderLine({ seed: 4, index: 0 }).text, lines[0].text);
});

test('lines keep to their limits, and the box holds the ink', async () => {
  const renderer = await createTextRenderer();
  for (let index = 0; index < 60; index++) {
    const limits = { minWords: 1, maxWords: 3, maxChars: 20, maxAspect: 8, clean: true, split: 'heldOut' } as const;
    const { text, width, height, pixels, box } = renderer.renderLine({ seed: 9, index, ...limits });
    assert.ok(text.length > 0 && text.length <= 20 && text.split(' ').length <= 3 && text === text.trim(), text);
    assert.ok(width / height <= 8.5 && pixels.length === width * height);
    let outside = 0;
    let inside = 0;
    for (let i = 0; i < pixels.length; i++) {
      const x = i % width;
      const y = (i - x) / width;
      // A pixel of tolerance: the font's own bounds are not those of its smoothed edges.
      const isIn = x >= box.left - 1 && x <= box.left + box.width && y >= box.top - 1 && y <= box.top + box.height;
      if (pixels[i] < 128) isIn ? inside++ : outside++;
    }
    assert.ok(inside > 0 && outside === 0, `${index} ${text}: ${inside} in the box, ${outside} outside`);
  }
});

test('a line can be resized to a height', async () => {
  const renderer = await createTextRenderer();
  for (let index = 0; index < 10; index++) {
    const { height, width, pixels, box } = renderer.renderLine({ seed: 1, index, height: 32 });
    assert.equal(height, 32);
    assert.equal(pixels.length, width * 32);
    assert.ok(box.left + box.width <= width && box.top + box.height <= 32);
  }
});

test('a page has its lines in order, inside its columns', async () => {
  const renderer = await createTextRenderer();
  const page = renderer.renderPage({ seed: 2, index: 0, columns: 2, pt: 11, dpi: 100, headings: true });
  assert.equal(page.image.data.length, page.image.width * page.image.height);
  assert.equal(page.text.replace(/\s+/g, ' ').trim(), page.paragraphs.join(' '));
  assert.equal(page.text.split('\n').filter(Boolean).length, page.lines.length);
  for (const [i, { box, column }] of page.lines.entries()) {
    assert.ok(box.left > 0 && box.left + box.width < page.image.width && box.top + box.height < page.image.height);
    if (i === 0) continue;
    const before = page.lines[i - 1];
    if (before.column === column) assert.ok(box.top > before.box.top);
    else assert.ok(box.left > page.image.width / 2 && before.column < column);
  }
  assert.deepEqual(renderer.renderPage({ seed: 2, index: 0, columns: 2, pt: 11, dpi: 100, headings: true }), page);
});
