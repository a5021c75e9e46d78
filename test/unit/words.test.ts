import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createTextIndex, readTexts, takeTexts } from '../../src/node/search/picture-texts.js';
import { fuseRankings } from '../../src/search/fuse.js';
import { indexWords } from '../../src/search/words.js';
import { readInto, strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';

const rankTexts = async (texts: ReadonlyMap<string, string>, query: string, top = 10) =>
  (await indexWords(texts)).rank(query, top);
const idsOf = async (texts: ReadonlyMap<string, string>, query: string, top = 10) =>
  (await rankTexts(texts, query, top)).map(({ id }) => id);

test('texts by words: rare words count more, short texts more than long ones, nothing without a word', async () => {
  const texts = new Map([
    ['a', 'the invoice of March'],
    ['b', 'the the the the the'],
    ['c', 'The INVOICE, and very much else that goes on and on without any end to it'],
    ['d', 'no such thing'],
  ]);
  assert.deepEqual(await idsOf(texts, 'the invoice'), ['a', 'c', 'b']);
  assert.deepEqual(await idsOf(texts, 'the March invoice'), ['a', 'c'], 'what has "the" alone says too little of it');
  assert.deepEqual(await idsOf(texts, 'Invoice', 1), ['a']);
  assert.deepEqual(await idsOf(texts, 'zebra'), []);
  assert.deepEqual(await idsOf(new Map(), 'the'), []);
});

test('a query of very many words takes no time by the words of all texts', async () => {
  const own = Array.from({ length: 20_000 }, (_, i) => `w${i}`);
  const texts = new Map(Array.from({ length: 40 }, (_, i) => [`${i}`, own.slice(500 * i).join(' ')]));
  const words = await indexWords(texts);
  assert.deepEqual(
    words.rank(own.join(' '), 1).map(({ id }) => id),
    ['0'],
  );
});

test('a word that says nothing finds no text: how many texts have it decides, not a list', async () => {
  const letters = new Map([
    ['1', 'a letter to a friend in a town'],
    ['2', 'a bill in full'],
    ['3', 'notes of a talk'],
    ['4', 'eine Banane'],
  ]);
  assert.deepEqual(await idsOf(letters, 'a banana'), []);
  assert.deepEqual(await idsOf(new Map([['1', 'a letter']]), 'a banana'), [], 'also where there is one text only');
  assert.deepEqual(await idsOf(new Map([['1', 'a letter']]), 'a letter'), ['1']);
  assert.deepEqual(await idsOf(new Map([...letters, ['5', 'a banana for you']]), 'a banana'), ['5']);
  assert.deepEqual(await idsOf(letters, 'a bill in a garden'), ['2'], 'a third of what it says and more');
  const [whole] = await rankTexts(letters, 'bill', 1);
  const [most] = await rankTexts(letters, 'a bill in a garden', 1);
  assert.equal(whole.strength, 1);
  assert.ok(most.strength > 0 && most.strength < 0.5, `${most.strength}`);
});

test('what a picture shows is first unless a text says all of the query', () => {
  const shown = ['banana.png', 'lemon.png', ...Array.from({ length: 40 }, (_, i) => `${i}.png`), 'page.png'];
  const first = (strength: number) => fuseRankings([shown, ['page.png']], { weights: [1, [strength]] })[0].id;
  assert.equal(first(0.1), 'banana.png');
  assert.equal(first(0.3), 'banana.png');
  assert.equal(first(1), 'page.png');
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
  assert.deepEqual(
    (await index())?.rank(word, 5).map(({ id }) => id),
    ['a.png'],
  );
  write(join(scratch, 'texts.json'), JSON.stringify({ 'b.png': `another ${word}` }));
  assert.deepEqual(
    (await index())?.rank(word, 5).map(({ id }) => id),
    ['b.png'],
    'texts that have changed are read again',
  );
  assert.equal(await createTextIndex(folder)(), undefined);
  assert.throws(() => takeTexts(scratch, folder, folder), /there is no reading; make one/);
});
