import assert from 'node:assert/strict';
import { cpSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { examplePath, runCli } from '../helpers/cli.js';

test('read, index --texts, search: pictures are found by what they show and by what they say', async () => {
  const scratch = scratchDir();
  const [folder, texts, index] = ['pictures', 'texts', 'index'].map((name) => join(scratch, name));
  for (const name of ['banana.png', 'dog-face.png', 'house.png'])
    cpSync(examplePath(`pictures/${name}`), join(folder, name));
  write(join(folder, 'letter.png'), await strip(0, 250));
  const run = async (...args: string[]) => {
    const result = await runCli(args);
    assert.equal(result.code, 0, result.err);
    return result;
  };
  await run('read', folder, '--out', texts, '--threads', '1', '--retries', '0');
  // "a" is a word of the letter, "banana" is none.
  assert.match(readFileSync(join(texts, 'letter.txt'), 'utf8'), /A page is a picture before it is a text\./);
  const { err } = await run('index', folder, '--out', index, '--texts', texts);
  assert.match(err, /pictures have a text/);
  const found = async (words: string) => {
    const { out } = await run('search', index, words);
    return out
      .trim()
      .split('\n')
      .map((line) => basename(line.split('\t')[1]));
  };
  for (const [words, first] of [
    ['a banana', 'banana.png'],
    ['a dog', 'dog-face.png'],
    ['a field of light and dark', 'letter.png'],
    ['millions of numbers', 'letter.png'],
  ]) {
    const names = await found(words);
    assert.equal(names[0], first, words);
    assert.deepEqual([...names].sort(), ['banana.png', 'dog-face.png', 'house.png', 'letter.png']);
  }
});
