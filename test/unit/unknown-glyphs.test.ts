import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCanvas, GlobalFonts } from '@napi-rs/canvas';
import { createRng } from '../../src/core/rng.js';
import { alphabet } from '../../src/data/rendered/alphabet.js';
import { markUnknown, unknownMark, withUnknownGlyphs } from '../../src/data/rendered/unknown.js';
import { unknownGlyphs, unknownGlyphsOf } from '../../src/data/rendered/unknown-glyphs.js';
import { packageFolder } from '../../src/node/rendered/fonts.js';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';
import { coveredCharacters } from '../../src/node/rendered/woff.js';

const all = [...new Set(Object.values(unknownGlyphs).flat())];

test('unknown glyphs are single characters outside the alphabet that run to the right and join nothing', () => {
  assert.ok(all.length > 1500, `${all.length}`);
  for (const glyph of all) {
    assert.ok(glyph.length === 1 && !alphabet.includes(glyph), glyph);
    assert.match(glyph, /^[\p{L}\p{N}\p{S}\p{P}]$/u);
    assert.doesNotMatch(glyph, /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Nko}]/u);
  }
});

test('no unknown glyph is drawn as a character of the alphabet, or as a missing one', () => {
  const path = join(packageFolder('dejavu-fonts-ttf'), 'ttf', 'DejaVuSans.ttf');
  const bytes = readFileSync(path);
  GlobalFonts.register(bytes, 'unknown-glyphs-test');
  const context = createCanvas(48, 48).getContext('2d');
  context.font = '24px "unknown-glyphs-test"';
  const picture = (character: string) => {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, 48, 48);
    context.fillStyle = '#000';
    context.fillText(character, 8, 32);
    return Buffer.from(context.getImageData(0, 0, 48, 48).data).toString('latin1');
  };
  const known = new Map([...alphabet, '\uefff'].map((character) => [picture(character), character]));
  const drawable = coveredCharacters(bytes, all.join(''), path);
  assert.ok(drawable.size > 1300, `${drawable.size}`);
  const alike = [...drawable].flatMap((glyph) => {
    const twin = known.get(picture(glyph));
    return twin === undefined ? [] : [`${glyph} (${glyph.charCodeAt(0).toString(16)}) as ${twin}`];
  });
  assert.deepEqual(alike, []);
});

test('the splits share no glyph, and italics have none that are drawn as Latin letters there', () => {
  const glyphsOf = (split: 'train' | 'heldOut', isItalic: boolean) =>
    [...unknownGlyphsOf(new Set(all), { split, isItalic }).values()].flat();
  const [train, heldOut] = [glyphsOf('train', false), glyphsOf('heldOut', false)];
  assert.ok(heldOut.length > all.length / 10 && heldOut.length < all.length / 4);
  assert.deepEqual(
    heldOut.filter((glyph) => train.includes(glyph)),
    [],
  );
  assert.deepEqual([...new Set([...train, ...heldOut])].sort(), [...all].sort());
  const italic = [...glyphsOf('train', true), ...glyphsOf('heldOut', true)];
  for (const twin of 'пит') assert.ok(all.includes(twin) && !italic.includes(twin), twin);
});

test('about the wanted share of words has unknown glyphs, and the text keeps its limit', () => {
  const glyphs = new Map([
    ['greek', ['λ', 'π']],
    ['sign', ['→']],
  ] as const);
  const text = Array<string>(12).fill('word').join(' ');
  let words = 0;
  for (let i = 0; i < 400; i++) {
    const written = withUnknownGlyphs(createRng(1, i), text, { share: 0.25, glyphs, maxChars: 62 });
    assert.ok(written.length <= 62 && written === written.trim(), written);
    words += markUnknown(written)
      .split(' ')
      .filter((word) => word.includes(unknownMark)).length;
  }
  assert.ok(Math.abs(words / 4800 - 0.25) < 0.03, `${words / 4800}`);
  const none = { share: 1, glyphs: new Map(), maxChars: 62 };
  assert.equal(withUnknownGlyphs(createRng(1), text, none), text);
  assert.equal(markUnknown('naïve λx → “ok”'), 'naïve \ufffdx \ufffd “ok”');
});

test('a line is labelled with one mark for each unknown glyph, which stands where the glyph is', async () => {
  const renderer = await createTextRenderer();
  const options = { seed: 6, height: 32, maxChars: 40, minWords: 3, maxWords: 6, maxAspect: 12 } as const;
  let marked = 0;
  for (let index = 0; index < 60; index++) {
    const line = renderer.renderLine({ ...options, index, unknown: 0.3, split: index % 2 ? 'train' : 'heldOut' });
    assert.equal(line.text, markUnknown(line.text));
    assert.ok(line.text.length <= 40 && line.centres.length === line.text.length);
    for (const [i, at] of line.centres.entries()) assert.ok(i === 0 || at >= line.centres[i - 1], line.text);
    if (line.text.includes(unknownMark)) marked++;
    const plain = renderer.renderLine({ ...options, index });
    assert.ok(!plain.text.includes(unknownMark));
    assert.deepEqual(renderer.renderLine({ ...options, index, unknown: 0 }), plain);
  }
  assert.ok(marked > 20, `${marked}`);
});
