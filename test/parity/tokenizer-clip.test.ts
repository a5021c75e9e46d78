import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixtureTensors, raggedRows } from '../helpers/tensors.js';
import { tokenizerFiles } from '../helpers/tokenizers.js';

interface Row {
  readonly text: string;
  readonly ids: readonly number[];
  readonly decoded: string;
}

const rows = fixtureJson<readonly Row[]>('clip/strings.json');
const layouts = {
  'tokenizer.json': [],
  'vocab.json and merges.txt': ['tokenizer.json'],
  'vocab.json and merges.txt alone': ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'],
} as const;

for (const [layout, without] of Object.entries(layouts)) {
  const tokenizer = createTokenizer(tokenizerFiles('clip/tokenizer', without));

  test(`${layout}: ids of every string`, async () => {
    const stored = raggedRows(await fixtureTensors('clip/expected.safetensors'), 'ids');
    rows.forEach(({ text, ids }, i) => {
      assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
      assert.deepEqual(stored[i], ids);
    });
  });

  test(`${layout}: decoded text of every string`, () => {
    for (const { ids, decoded } of rows) {
      assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true, cleanUpSpaces: true }), decoded);
    }
  });
}

test('a text longer than the limit is an error, or keeps its end token', () => {
  const tokenizer = createTokenizer(tokenizerFiles('clip/tokenizer'));
  const { text, ids } = rows[rows.length - 1];
  assert.throws(() => tokenizer.encode(text, { maxLength: 32 }), InputError);
  const cut = tokenizer.encode(text, { maxLength: 32, truncate: true });
  assert.deepEqual(cut, [...ids.slice(0, 31), 599]);
});

test('capitals are folded one by one, and every kind of space is one space', () => {
  const tokenizer = createTokenizer(tokenizerFiles('clip/tokenizer'));
  const ids = (text: string) => tokenizer.encode(text);
  assert.deepEqual(ids('ΟΔΟΣ'), ids('οδοσ'));
  assert.deepEqual(ids('a\u0085b\u2003 c'), ids('a b c'));
  assert.notDeepEqual(ids('a\ufeffb'), ids('a b'));
});
