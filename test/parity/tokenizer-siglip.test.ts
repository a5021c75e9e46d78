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

/** A field of a protobuf message: a number, or bytes. */
function field(number: number, value: bigint | Uint8Array): number[] {
  const varint = (left: bigint): number[] =>
    left < 128n ? [Number(left)] : [Number(left & 127n) | 128, ...varint(left >> 7n)];
  return typeof value === 'bigint'
    ? [...varint(BigInt(8 * number)), ...varint(BigInt.asUintN(64, value))]
    : [...varint(BigInt(8 * number + 2)), ...varint(BigInt(value.length)), ...value];
}
const message = (...fields: number[][]) => Uint8Array.from(fields.flat());
const piece = (text: string, score: number, type: bigint) =>
  field(
    1,
    message(
      field(1, new TextEncoder().encode(text)),
      [0x15, ...new Uint8Array(Float32Array.of(score).buffer)],
      field(3, type),
    ),
  );
const [normal, unknown, control, byte] = [1n, 2n, 3n, 6n];
const bytePieces = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);

test('spiece.model: ids that there are not are -1, characters without a piece are bytes where the file says so', () => {
  const modelWith = (...trainer: number[][]) =>
    message(
      piece('<pad>', 0, control),
      piece('</s>', 0, control),
      piece('<unk>', 0, unknown),
      ...bytePieces.map((text) => piece(text, 0, byte)),
      piece('\u2581', -2, normal),
      piece('\u2581cat', -3, normal),
      field(2, message(...trainer)),
      field(3, message(field(1, new TextEncoder().encode('nmt_nfkc')))),
    );
  // bos_id -1 takes ten bytes.
  const plain = createSiglipTokenizer({ spieceModel: modelWith(field(41, -1n)) }) as Tokenizer;
  assert.deepEqual(plain.encode('cat é'), [260, 259, 2, 1]);
  const bytes = createSiglipTokenizer({ spieceModel: modelWith(field(41, -1n), field(35, 1n)) }) as Tokenizer;
  assert.deepEqual(bytes.encode('cat é'), [260, 259, 3 + 0xc3, 3 + 0xa9, 1]);
  assert.equal(bytes.decode(bytes.encode('cat é'), { skipSpecialTokens: true }), 'cat é');
  const vocab = [['<pad>', 0], ['</s>', 0], ['<unk>', 0], ...bytePieces.map((text) => [text, 0]), ['\u2581', -2]];
  const model = { type: 'Unigram', unk_id: 2, byte_fallback: true, vocab };
  const json = createSiglipTokenizer({
    tokenizerJson: { model },
    tokenizerConfig: { pad_token: '<pad>' },
  }) as Tokenizer;
  assert.deepEqual(json.encode('é'), [259, 3 + 0xc3, 3 + 0xa9, 1]);
  assert.deepEqual([json.special.pad, bytes.special.pad], [0, 1]);
  assert.equal(json.decode([259, 1, 0, 0], { skipSpecialTokens: true }), '');
  const typo = { tokenizerJson: { model }, tokenizerConfig: { pad_token: '<pda>' } };
  assert.throws(() => createSiglipTokenizer(typo), /pad_token: "<pda>" is no piece/);
  assert.throws(
    () => createSiglipTokenizer({ tokenizerJson: { model: { ...model, vocab: vocab.slice(0, 9) } } }),
    /byte_fallback and no piece <0x06>/,
  );
  const folded = message(...[field(3, message(field(1, new TextEncoder().encode('identity'))))]);
  assert.throws(() => createSiglipTokenizer({ spieceModel: folded }), /normalizer identity\), expected nmt_nfkc/);
});

test('text that folds to nothing is the end alone; joiners stay, other marks of no width are spaces', () => {
  for (const tokenizer of Object.values(layouts)) {
    for (const text of ['', '!!!', ' . ', '\u200b'])
      assert.deepEqual(tokenizer.encode(text), [1], JSON.stringify(text));
  }
  assert.equal(canonicalText('a\u200db\u200cc\u001cd\u0001e\u0000f'), 'a\u200db c de\u0000f');
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
