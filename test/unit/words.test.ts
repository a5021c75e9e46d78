import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTexts, takeTexts } from '../../src/node/search/picture-texts.js';
import { rankTexts } from '../../src/search/words.js';
import { readInto, strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';

test('texts by words: rare words count more, short texts more than long ones, nothing without a word', () => {
  const texts = new Map([
    ['a', 'the invoice of March'],
    ['b', 'the the the the the'],
    ['c', 'The INVOICE, and very much else that goes on and on without any end to it'],
    ['d', 'no such thing'],
  ]);
  assert.deepEqual(rankTexts(texts, 'the invoice', 10), ['a', 'c', 'b']);
  assert.deepEqual(rankTexts(texts, 'Invoice', 1), ['a']);
  assert.deepEqual(rankTexts(texts, 'zebra', 10), []);
  assert.deepEqual(rankTexts(new Map(), 'the', 10), []);
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
  const texts = await readTexts(scratch);
  assert.deepEqual([...(texts?.keys() ?? [])].sort(), ['a.png', 'deep/b.png']);
  const [word] = texts?.get('a.png')?.split(' ') ?? [];
  assert.deepEqual(rankTexts(texts as ReadonlyMap<string, string>, word, 5), ['a.png']);
  assert.throws(() => takeTexts(scratch, folder, folder), /there is no reading; make one/);
});
