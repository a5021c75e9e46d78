import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { loadModel } from '../../src/node/load-model.js';
import { canonicalText, createSiglipTokenizer } from '../../src/text/siglip-tokenizer.js';
import type { Tokenizer } from '../../src/text/tokenizer.js';
import { temporaryFolder } from '../helpers/clip-checkpoints.js';
import { fixtureBytes, fixtureJson, fixturePath } from '../helpers/fixtures.js';

const rows = fixtureJson<readonly { text: string; ids: readonly number[] }[]>('siglip/strings.json');
const tokenizerJson = fixtureJson('siglip/tokenizer/tokenizer.json');
const spieceModel = fixtureBytes('siglip/tokenizer/spiece.model');
const layouts = {
  'tokenizer.json': createSiglipTokenizer({ tokenizerJson }) as Tokenizer,
  'spiece.model': createSiglipTokenizer({ spieceModel }) as Tokenizer,
};

for (const [layout, tokenizer] of Object.entries(layouts)) {
  test(`${layout}: ids of every string`, () => {
    for (const { text, ids } of rows) assert.deepEqual(tokenizer.encode(text), ids, JSON.stringify(text));
    assert.equal(tokenizer.decode(rows[1].ids, { skipSpecialTokens: true }), 'a photo of a cat');
  });
}

test('text is folded: case, punctuation, compatibility forms and spaces', () => {
  assert.equal(canonicalText('  A_Photo,\u00a0of\t“it”!  ﬁ '), 'aphoto of “it” fi');
  assert.equal(canonicalText('A b', false), 'A b');
});

test('a text that is too long is refused, or cut before its end', () => {
  const tokenizer = layouts['tokenizer.json'];
  const long = 'the '.repeat(20);
  assert.throws(() => tokenizer.encode(long, { maxLength: 12 }), InputError);
  const cut = tokenizer.encode(long, { maxLength: 12, truncate: true });
  assert.deepEqual([cut.length, cut.at(-1)], [12, 1]);
});

test('broken and foreign vocabularies', () => {
  const broken = (bytes: Uint8Array) => () => createSiglipTokenizer({ spieceModel: bytes });
  assert.throws(broken(spieceModel.subarray(0, 500)), InputError);
  assert.throws(broken(Uint8Array.of(0xff, 0xff, 0xff)), InputError);
  assert.throws(broken(Uint8Array.of(0x12, 2, 0x18, 2)), /model of type 2, expected unigram/);
  assert.throws(broken(new Uint8Array(0)), /unknown piece/);
  assert.equal(createSiglipTokenizer({ tokenizerJson: { model: { type: 'BPE' } } }), undefined);
  assert.throws(() => createSiglipTokenizer({ tokenizerJson: { model: { type: 'Unigram', vocab: [1], unk_id: 0 } } }));
});

test('texts through the model: padded to all positions, as forward with the padded ids', async () => {
  const dir = temporaryFolder();
  // The tiny model has 90 ids; a vocabulary of as many pieces fits it.
  const json = structuredClone(tokenizerJson) as { model: { vocab: unknown[] } };
  json.model.vocab.length = Math.min(90, json.model.vocab.length);
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(json));
  for (const name of ['config.json', 'model.safetensors'])
    copyFileSync(fixturePath(`siglip/ckpt/${name}`), join(dir, name));
  assert.ok(readFileSync(join(dir, 'config.json')).length > 0);
  const model = await loadModel(dir, { threads: 2 });
  after(() => model.dispose());
  assert.ok(model.kind === 'clip');
  const texts = ['a cat', 'dog'];
  const inputIds = texts.map((text) => {
    const ids = model.tokenizer?.encode(text) ?? [];
    return [...ids, ...Array<number>(12 - ids.length).fill(1)];
  });
  const pixelValues = { dtype: 'float32', shape: [1, 3, 32, 32], data: new Float32Array(3072) } as const;
  const { textEmbeds } = await model.forward({ inputIds, pixelValues });
  const embeds = await model.embedTexts(texts);
  embeds.data.forEach((value, i) => {
    assert.ok(Math.abs(value - textEmbeds.data[i]) < 1e-5);
  });
  const image = { width: 8, height: 8, channels: 3, data: new Uint8Array(192) } as const;
  const ranked = await model.classify(image, ['cat', 'dog'], { template: 'a {}' });
  assert.ok(ranked.every(({ score }) => score > 0 && score < 1));
});
