import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTextIndex, readTexts, takeTexts } from '../../src/node/search/picture-texts.js';
import { indexWords } from '../../src/search/words.js';
import { readInto, strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';

test('texts by words: rare words count more, short texts more than long ones, nothing without a word', async () => {
  const texts = new Map([
    ['a', 'the invoice of March'],
    ['b', 'the the the the the'],
    ['c', 'The INVOICE, and very much else that goes on and on without any end to it'],
    ['d', 'no such thing'],
  ]);
  const words = await indexWords(texts);
  assert.deepEqual(words.rank('the invoice', 10), ['a', 'c', 'b']);
  assert.deepEqual(words.rank('Invoice', 1), ['a']);
  assert.deepEqual(words.rank('zebra', 10), []);
  assert.deepEqual((await indexWords(new Map())).rank('the', 10), []);
});

test('a query of very many words takes no time by the words of all texts', async () => {
  const own = Array.from({ length: 20_000 }, (_, i) => `w${i}`);
  const texts = new Map(Array.from({ length: 40 }, (_, i) => [`${i}`, own.slice(500 * i).join(' ')]));
  const words = await indexWords(texts);
  assert.deepEqual(words.rank(own.join(' '), 1), ['0']);
});

test('an index takes the texts of a reading of its folder, and of nothing else', async () => {
  const scratch = scratchDir();
  const folder = join(scratch, 'in');
  write(join(folder, 'a.png'), await strip(0));
  write(join(folder, 'deep/b.png'), await strip(1));
  const other = write(join(scratch, 'other.png'), await strip(2));
  const out = join(scratch, 'out');
  await readInto(out, [folder, other]);
  assert.equal(takeTexts(scratch, folder, out), 2);
  const index = createTextIndex(scratch);
  const texts = await readTexts(scratch);
  assert.deepEqual([...(texts?.keys() ?? [])].sort(), ['a.png', 'deep/b.png']);
  const [word] = texts?.get('a.png')?.split(' ') ?? [];
  assert.deepEqual((await index())?.rank(word, 5), ['a.png']);
  write(join(scratch, 'texts.json'), JSON.stringify({ 'b.png': `another ${word}` }));
  assert.deepEqual((await index())?.rank(word, 5), ['b.png'], 'texts that have changed are read again');
  assert.equal(await createTextIndex(folder)(), undefined);
  assert.throws(() => takeTexts(scratch, folder, folder), /there is no reading; make one/);
});
