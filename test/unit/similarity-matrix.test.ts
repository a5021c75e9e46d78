import assert from 'node:assert/strict';
import { test } from 'node:test';
import { similarityMatrixSvg } from '../../src/output/similarity-matrix.js';

const thumbnail = 'data:image/png;base64,';

test('texts and names that XML does not allow are escaped or replaced', () => {
  const svg = similarityMatrixSvg([{ name: 'a\u0001<b>.png', thumbnail }], ['x\u0000&\ud800"y'], [[0.5]]);
  assert.match(svg, /<title>a\ufffd&lt;b&gt;\.png<\/title>/);
  assert.match(svg, />x\ufffd&amp;\ufffd&quot;y<\/text>/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
  assert.doesNotMatch(svg, /[\u0000-\u0008\ud800-\udfff]/u);
});

test('the lowest and the highest value have the ends of the colours, of however many', () => {
  const images = Array.from({ length: 500 }, (_, i) => ({ name: `${i}`, thumbnail }));
  const texts = Array.from({ length: 300 }, (_, i) => `${i}`);
  const cosines = texts.map((_, row) => images.map((_, i) => (row * 500 + i) / 150_000));
  const fills = Array.from(
    similarityMatrixSvg(images, texts, cosines).matchAll(/fill="(rgb[^"]*)"/g),
    ([, fill]) => fill,
  );
  assert.deepEqual([fills.length, fills[0], fills.at(-1)], [150_000, 'rgb(38,54,120)', 'rgb(250,222,84)']);
});
