import assert from 'node:assert/strict';
import { test } from 'node:test';
import { padRows } from '../../src/text/collate.js';
import type { DecodeOptions } from '../../src/text/tokenizer.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { fixtureTensors, raggedRows, rowsOf, tensorOf } from '../helpers/tensors.js';
import { optTokenizer, tokenizerFiles } from '../helpers/tokenizers.js';

interface Row {
  text: string;
  ids: number[];
  ids_no_special: number[];
  ids_trunc8: number[];
  ids_fast: number[];
  ids_v5: number[];
  tokens: string[];
  decoded: string;
  decoded_skip: string;
  decoded_fresh_skip: string;
  decoded_noclean: string;
  decoded_fast: string;
}

interface DecodeRow {
  ids: number[];
  decoded: string;
  decoded_skip: string;
  decoded_noclean: string;
}

const { rows, decode } = fixtureJson<{ rows: Row[]; decode: DecodeRow[] }>('tokenizer-opt/strings.json');
const slow: DecodeOptions = { cleanUpSpaces: true, spaceAddedTokens: true };

const layouts = [
  { name: 'tokenizer.json and configs', tokenizer: optTokenizer() },
  { name: 'vocab.json and merges.txt', tokenizer: optTokenizer(['tokenizer.json']) },
  {
    name: 'tokenizer.json alone',
    tokenizer: createTokenizer({ tokenizerJson: tokenizerFiles('tokenizer-opt/tokenizer').tokenizerJson }),
  },
  {
    // As transformers from 4.34 on saves it: no added_tokens.json, no special_tokens_map.json.
    name: 'vocab.json, merges.txt and added_tokens_decoder',
    tokenizer: createTokenizer({
      ...tokenizerFiles('tokenizer-opt/tokenizer', ['tokenizer.json', 'added_tokens.json', 'special_tokens_map.json']),
      tokenizerConfig: {
        add_bos_token: true,
        bos_token: '</s>',
        eos_token: '</s>',
        pad_token: '<pad>',
        unk_token: '</s>',
        added_tokens_decoder: Object.fromEntries(
          ['<pad>', '</s>', '<imgpad>', '<img>', '</img>'].map((content, i) => [
            [1, 2, 617, 618, 619][i],
            { content, lstrip: false, normalized: true, rstrip: false, single_word: false, special: i < 2 },
          ]),
        ),
      },
    }),
  },
];

for (const { name, tokenizer } of layouts) {
  test(`${name}: ids of the fast and of transformers 5's tokenizer`, () => {
    assert.equal(rows.length, 40);
    for (const { text, ids_fast, ids_v5 } of rows) {
      assert.deepEqual(tokenizer.encode(text), ids_fast, text);
      assert.deepEqual(tokenizer.encode(text), ids_v5, text);
    }
  });

  test(`${name}: decoded text`, () => {
    for (const row of rows) {
      assert.equal(tokenizer.decode(row.ids, slow), row.decoded);
      assert.equal(tokenizer.decode(row.ids, { ...slow, skipSpecialTokens: true }), row.decoded_skip);
      assert.equal(tokenizer.decode(row.ids, { ...slow, skipSpecialTokens: true }), row.decoded_fresh_skip);
      assert.equal(tokenizer.decode(row.ids, { skipSpecialTokens: true }), row.decoded_noclean);
      const fast = { skipSpecialTokens: true, cleanUpSpaces: true };
      assert.equal(tokenizer.decode(row.ids_fast, fast), row.decoded_fast);
    }
  });

  test(`${name}: ids that are no text`, () => {
    assert.equal(decode.length, 16);
    for (const row of decode) {
      assert.equal(tokenizer.decode(row.ids, slow), row.decoded);
      assert.equal(tokenizer.decode(row.ids, { ...slow, skipSpecialTokens: true }), row.decoded_skip);
      assert.equal(tokenizer.decode(row.ids, { skipSpecialTokens: true }), row.decoded_noclean);
    }
  });

  test(`${name}: tokens, and the template`, () => {
    assert.equal(tokenizer.size, 620);
    assert.deepEqual(tokenizer.template, { before: [2], after: [] });
    for (const { ids, tokens } of rows) {
      assert.deepEqual(
        ids.map((id) => tokenizer.idToToken(id)),
        tokens,
      );
      assert.deepEqual(
        tokens.map((token) => tokenizer.tokenToId(token)),
        ids,
      );
    }
  });

  test(`${name}: ids of the slow tokenizer`, () => {
    for (const { text, ids, ids_no_special, ids_trunc8 } of rows) {
      const whitespace = 'reference';
      assert.deepEqual(tokenizer.encode(text, { whitespace }), ids, text);
      assert.deepEqual(tokenizer.encode(text, { whitespace, addSpecialTokens: false }), ids_no_special, text);
      assert.deepEqual(tokenizer.encode(text, { whitespace, maxLength: 8, truncate: true }), ids_trunc8, text);
    }
  });
}

test('strings.json and the tensors say the same', async () => {
  const tensors = await fixtureTensors('tokenizer-opt/expected.safetensors');
  for (const name of ['ids', 'ids_no_special', 'ids_trunc8', 'ids_fast'] as const) {
    assert.deepEqual(
      rows.map((row) => row[name]),
      raggedRows(tensors, name),
    );
  }
});

test('batches padded on the right and on the left', async () => {
  const tensors = await fixtureTensors('tokenizer-opt/expected.safetensors');
  const tokenizer = optTokenizer();
  const texts = rows.slice(5, 13).map(({ text }) => text);
  const whole = texts.map((text) => tokenizer.encode(text, { whitespace: 'reference' }));
  const right = padRows(whole, { padId: 1 });
  assert.deepEqual(right.inputIds, rowsOf(tensorOf(tensors, 'batch.input_ids')));
  assert.deepEqual(right.attentionMask, rowsOf(tensorOf(tensors, 'batch.attention_mask')));
  const cut = texts.map((text) => tokenizer.encode(text, { whitespace: 'reference', maxLength: 6, truncate: true }));
  const left = padRows(cut, { padId: 1, side: 'left' });
  assert.deepEqual(left.inputIds, rowsOf(tensorOf(tensors, 'left.input_ids')));
  assert.deepEqual(left.attentionMask, rowsOf(tensorOf(tensors, 'left.attention_mask')));
});

interface Edges {
  rows: [string, number[]][];
  flags: { lstrip: string; rstrip: string; single_word: string; rows: [string, number[]][] };
  slow: [string, number[]][];
  decode: [number[], string, string][];
}

const edges = fixtureJson<Edges>('tokenizer-edges.json');

test('awkward strings: whitespace classes, marks, runs; against the Rust tokenizers', () => {
  const tokenizer = optTokenizer();
  assert.equal(edges.rows.length, 308);
  for (const [text, ids] of edges.rows) {
    assert.deepEqual(tokenizer.encode(text, { addSpecialTokens: false }), ids, JSON.stringify(text));
    // With ids that stand for bytes, the other direction needs no second fixture.
    assert.equal(tokenizer.decode(ids), text);
  }
  for (const [ids, all, skipped] of edges.decode) {
    assert.equal(tokenizer.decode(ids), all);
    assert.equal(tokenizer.decode(ids, { skipSpecialTokens: true }), skipped);
  }
});

test('awkward strings round the image tokens, stripped as Python strips', () => {
  const tokenizer = optTokenizer();
  assert.equal(edges.slow.length, 105);
  for (const [text, ids] of edges.slow) {
    assert.deepEqual(tokenizer.encode(text, { whitespace: 'reference' }), ids, JSON.stringify(text));
  }
});

test('added tokens with lstrip, rstrip and single_word', () => {
  const files = tokenizerFiles('tokenizer-opt/tokenizer');
  const tokenizerJson = files.tokenizerJson as { added_tokens: Record<string, unknown>[] };
  for (const token of tokenizerJson.added_tokens) {
    for (const flag of ['lstrip', 'rstrip', 'single_word'] as const) {
      if (token['content'] === edges.flags[flag]) token[flag] = true;
    }
  }
  const tokenizer = createTokenizer({ tokenizerJson });
  for (const [text, ids] of edges.flags.rows) {
    assert.deepEqual(tokenizer.encode(text, { addSpecialTokens: false }), ids, JSON.stringify(text));
  }
});
