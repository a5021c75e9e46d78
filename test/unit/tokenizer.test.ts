import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InputError } from '../../src/core/errors.js';
import { bytesOfEntry, charOfByte } from '../../src/text/byte-level.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import type { TokenizerFiles } from '../../src/text/tokenizer-files.js';
import { optTokenizer, tokenizerFiles } from '../helpers/tokenizers.js';

const tokenizer = optTokenizer();
const files = tokenizerFiles('tokenizer-opt/tokenizer', ['tokenizer.json']);
const json = tokenizerFiles('tokenizer-opt/tokenizer').tokenizerJson as Record<string, unknown>;
const plain = { addSpecialTokens: false };

/** All 256 bytes and what is given: the smallest vocabulary that can say everything. */
function byteVocabulary(more: Record<string, number> = {}): Record<string, number> {
  return { ...Object.fromEntries(Array.from({ length: 256 }, (_, byte) => [charOfByte(byte), byte])), ...more };
}

test("the byte alphabet is GPT-2's", () => {
  assert.deepEqual([0, 10, 32, 33, 127, 161, 173, 255].map(charOfByte), ['Ā', 'Ċ', 'Ġ', '!', 'ġ', '¡', 'Ń', 'ÿ']);
  const all = Array.from({ length: 256 }, (_, byte) => charOfByte(byte));
  assert.equal(new Set(all).size, 256);
  all.forEach((char, byte) => {
    assert.deepEqual([...bytesOfEntry(char)], [byte]);
  });
  assert.deepEqual([...bytesOfEntry('a\u3042')], [0x61, 0xe3, 0x81, 0x82]);
});

test('any text survives, added tokens in it or not', () => {
  const unit = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('<img>', '</s>', ' ', '\n', '\u0085', '\ufeff'));
  fc.assert(
    fc.property(fc.array(unit, { maxLength: 12 }), fc.boolean(), (parts, literal) => {
      const text = parts.join('');
      assert.equal(tokenizer.decode(tokenizer.encode(text, { ...plain, literal })), text);
    }),
    { numRuns: 1000 },
  );
});

test('literal text has no added token', () => {
  const text = 'a </s><img> <pad></img>';
  assert.deepEqual(
    tokenizer.encode(text, plain).filter((id) => tokenizer.isSpecial(id) || id > 616),
    [2, 618, 1, 619],
  );
  const literal = tokenizer.encode(text, { literal: true });
  assert.deepEqual(
    literal.filter((id) => tokenizer.isSpecial(id) || id > 616),
    [2],
  );
  assert.equal(literal[0], 2);
  const none = createTokenizer({ tokenizerJson: { ...json, added_tokens: [] } });
  assert.deepEqual(literal, none.encode(text));
});

test('lone surrogates count as U+FFFD', () => {
  const replaced = tokenizer.encode('a\uFFFDb\uFFFD');
  assert.deepEqual(tokenizer.encode('a\uD800b\uDC00'), replaced);
  assert.deepEqual(tokenizer.encode('a\uD800b\uDC00', { literal: true }), replaced);
  assert.equal(tokenizer.decode(tokenizer.encode('\uD83D\uDE00', plain)), '😀');
});

test('long texts: every length comes back whole', () => {
  const texts = {
    words: 'Hello wörld, 中文 12345.\n'.repeat(4000),
    letters: 'a'.repeat(1_000_000),
    spaces: `x${' '.repeat(200_000)}x`,
    newlines: `${'\n'.repeat(100_000)}x`,
    emoji: '👩‍👩‍👧‍👦'.repeat(2_000),
    marks: `e${'\u0301'.repeat(30_000)}`,
    surrogates: '\uD800'.repeat(20_000),
    markers: '<imgpad>'.repeat(50_000),
    half: '<imgpad'.repeat(10_000),
  };
  for (const [name, text] of Object.entries(texts)) {
    const ids = tokenizer.encode(text, plain);
    assert.ok(tokenizer.decode(ids) === text.replaceAll('\uD800', '\uFFFD'), name);
    if (name === 'letters') assert.equal(ids.length, 1_000_000);
  }
  const reference = { whitespace: 'reference', maxLength: 100, truncate: true } as const;
  assert.equal(tokenizer.encode(texts.markers, plain).length, 50_000);
  assert.equal(tokenizer.encode(`${' '.repeat(200_000)}<img>`.repeat(3), reference).length, 4);
});

test('maxLength counts the special tokens and never cuts in silence', () => {
  assert.equal(tokenizer.encode('Hello world', { maxLength: 10 }).length, 10);
  assert.deepEqual(tokenizer.encode('Hello world', { maxLength: 3, truncate: true }), [2, 395, 275]);
  assert.deepEqual(tokenizer.encode('Hello world', { ...plain, maxLength: 3, truncate: true }), [395, 275, 502]);
  assert.throws(() => tokenizer.encode('Hello world', { maxLength: 9 }), {
    name: 'InputError',
    message: 'tokenizer: the text is 10 tokens long, maxLength is 9; shorten it or set truncate',
  });
  for (const maxLength of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => tokenizer.encode('', { maxLength, truncate: true }), InputError);
  }
});

test('values that are not text or ids are refused', () => {
  assert.throws(() => tokenizer.encode(5 as unknown as string), InputError);
  assert.throws(() => tokenizer.decode([-1]), InputError);
  assert.throws(() => tokenizer.decode([0.5]), InputError);
});

test('ids without a token, as a padded embedding has, are no text', () => {
  assert.equal(tokenizer.decode([395, 620, 5000, 395]), 'HH');
  assert.equal(tokenizer.idToToken(620), undefined);
  assert.equal(tokenizer.tokenToId('nothing'), undefined);
});

test('special ids, from the config or not declared', () => {
  assert.deepEqual(tokenizer.special, { bos: 2, eos: 2, pad: 1, unk: 2 });
  const none = createTokenizer({ tokenizerJson: json }).special;
  assert.deepEqual(none, { bos: undefined, eos: undefined, pad: undefined, unk: undefined });
});

test('add_bos_token decides against the post-processor of tokenizer.json', () => {
  const template = (post_processor: unknown, tokenizerConfig: object) =>
    createTokenizer({ ...files, tokenizerJson: { ...json, post_processor }, tokenizerConfig }).template;
  const roberta = {
    type: 'RobertaProcessing',
    sep: ['</s>', 2],
    cls: ['<s>', 0],
    trim_offsets: true,
    add_prefix_space: false,
  };
  const config = files.tokenizerConfig as object;
  assert.deepEqual(template(roberta, config), { before: [2], after: [] });
  assert.deepEqual(template(null, config), { before: [2], after: [] });
  assert.deepEqual(template(roberta, { ...config, add_bos_token: false, add_eos_token: true }), {
    before: [],
    after: [2],
  });
  assert.deepEqual(template(roberta, { ...config, add_bos_token: undefined }), { before: [0], after: [2] });
  assert.deepEqual(template({ type: 'ByteLevel' }, {}), { before: [], after: [] });
  assert.throws(() => createTokenizer({ tokenizerJson: json, tokenizerConfig: { add_bos_token: true } }), {
    name: 'InputError',
    message: 'tokenizer_config.json: no bos_token is declared; declare bos_token there',
  });
});

test('special_tokens_map.json overrides tokenizer_config.json, as in transformers 4', () => {
  const pad = createTokenizer({ ...files, specialTokensMap: { pad_token: '<unk>' } });
  assert.deepEqual(pad.special, { bos: 2, eos: 2, pad: 3, unk: 2 });
  const added_tokens_decoder = {};
  const tokenizerConfig = { ...(files.tokenizerConfig as object), added_tokens_decoder };
  assert.equal(createTokenizer({ ...files, tokenizerConfig, specialTokensMap: { pad_token: '<unk>' } }).special.pad, 1);
});

test('merges.txt: version line, CRLF, byte-order mark, no last newline, rules of #', () => {
  const vocabJson = byteVocabulary({ '##': 256, ab: 257, '####': 258 });
  const rules = ['# #', 'a b', '## ##'];
  const variants = [
    `#version: 0.2\n${rules.join('\n')}\n`,
    `#version: 0.2\r\n${rules.join('\r\n')}\r\n`,
    `\uFEFF#version: 0.2\n${rules.join('\n')}`,
    rules.join('\n'),
    `${rules.join('\n')}\n\n`,
  ];
  for (const mergesTxt of variants) {
    const ids = createTokenizer({ vocabJson, mergesTxt }).encode('#####ab');
    assert.deepEqual(ids, [258, '#'.charCodeAt(0), 257], JSON.stringify(mergesTxt));
  }
  // Rules come in order: the same pairs with another first rule.
  const other = createTokenizer({ vocabJson: byteVocabulary({ bc: 256, ab: 257 }), mergesTxt: 'a b\nb c' });
  assert.deepEqual(other.encode('abc'), [257, 99]);
});

test('a vocabulary with holes counts to its highest id', () => {
  const holes = createTokenizer({
    vocabJson: byteVocabulary({ ab: 300 }),
    mergesTxt: 'a b',
    addedTokens: { '<x>': 400 },
  });
  assert.equal(holes.size, 401);
  assert.deepEqual(holes.encode('ab<x>'), [300, 400]);
  assert.equal(holes.decode([299, 300, 350, 400]), 'ab<x>');
});

test('tokens named like fields of an object are tokens', () => {
  const vocabJson = JSON.parse(JSON.stringify(byteVocabulary()).replace(/}$/, ',"__proto__":256,"constructor":257}'));
  const addedTokens = JSON.parse('{"__proto__":256,"toString":258,"hasOwnProperty":259}');
  const odd = createTokenizer({ vocabJson, mergesTxt: '', addedTokens });
  assert.deepEqual(odd.encode('__proto__toStringhasOwnProperty'), [256, 258, 259]);
  assert.equal(odd.decode([256, 257, 258]), '__proto__constructortoString');
  assert.equal(odd.tokenToId('valueOf'), undefined);
  const { q: _, ...lacking } = vocabJson;
  const unknown = createTokenizer({ vocabJson: lacking, mergesTxt: '', tokenizerConfig: { unk_token: '__proto__' } });
  assert.deepEqual(unknown.encode('aq'), [97, 256]);
  assert.equal(({} as Record<string, unknown>)['256'], undefined);
  assert.equal(Object.getPrototypeOf(vocabJson), Object.prototype);
});

test('bytes without a token become the unknown token, never nothing', () => {
  const { q: _, ...vocabJson } = byteVocabulary({ '<unk>': 256 });
  const tokenizerConfig = { unk_token: '<unk>' };
  assert.deepEqual(createTokenizer({ vocabJson, mergesTxt: '', tokenizerConfig }).encode('aqa'), [97, 256, 97]);
  assert.throws(() => createTokenizer({ vocabJson, mergesTxt: '' }), {
    name: 'InputError',
    message:
      "vocab.json: no token for 1 of the 256 bytes (the first is 113), and no unk_token is declared; download the checkpoint's tokenizer files again, or copy them from its base model",
  });
});

test('add_prefix_space puts a space before every stretch of text', () => {
  const spaced = createTokenizer({
    vocabJson: byteVocabulary(),
    mergesTxt: '',
    tokenizerConfig: { add_prefix_space: true },
  });
  assert.deepEqual(spaced.encode('a'), [32, 97]);
  assert.deepEqual(spaced.encode(' a'), [32, 97]);
});

test("for GPT-2's classes tokenizer_config.json decides on the prefix space, else tokenizer.json", () => {
  const encode = (inFile: boolean, tokenizerConfig: object) => {
    const pre_tokenizer = { type: 'ByteLevel', add_prefix_space: inFile, use_regex: true };
    return createTokenizer({ tokenizerJson: { ...json, pre_tokenizer, added_tokens: [] }, tokenizerConfig }).encode(
      '!',
    );
  };
  const [plain, spaced] = [encode(false, {}), encode(true, {})];
  assert.notDeepEqual(spaced, plain);
  for (const tokenizer_class of ['GPT2Tokenizer', 'GPT2TokenizerFast']) {
    assert.deepEqual(encode(false, { tokenizer_class, add_prefix_space: true }), spaced);
    assert.deepEqual(encode(true, { tokenizer_class, add_prefix_space: false }), plain);
    assert.deepEqual(encode(true, { tokenizer_class }), plain);
  }
  assert.deepEqual(encode(true, { tokenizer_class: 'PreTrainedTokenizerFast', add_prefix_space: false }), spaced);
  assert.deepEqual(encode(true, { add_prefix_space: false }), plain);
});

test('a ByteLevel step within a sequence puts its space before every piece', () => {
  const digits = { type: 'Split', pattern: { Regex: '[0-9]' }, behavior: 'Isolated', invert: false };
  const bytes = { type: 'ByteLevel', add_prefix_space: true, use_regex: true };
  const tokenizerJson = {
    pre_tokenizer: { type: 'Sequence', pretokenizers: [digits, bytes] },
    model: { type: 'BPE', vocab: byteVocabulary(), merges: [] },
  };
  const [a, one, space] = [97, 49, 32];
  assert.deepEqual(createTokenizer({ tokenizerJson }).encode('a1a'), [space, a, space, one, space, a]);
});

test('tokens that are single words: joiners are of words, and what is within a word is passed over', () => {
  const added_tokens = [
    { id: 256, content: 'foo', single_word: true },
    { id: 257, content: 'oo' },
    { id: 258, content: ' b', normalized: false },
    { id: 259, content: '<x y>', lstrip: true, normalized: true },
  ];
  const tokenizerJson = {
    added_tokens,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    model: { type: 'BPE', vocab: byteVocabulary(), merges: [] },
  };
  const { encode } = createTokenizer({ tokenizerJson });
  assert.deepEqual(encode('foo'), [256]);
  assert.deepEqual(encode('foo-oo'), [256, 45, 257]);
  // The longest match is no word: nothing shorter is looked for in its place.
  assert.deepEqual(encode('afoo'), [97, 102, 111, 111]);
  assert.deepEqual(encode('\u200dfoo').slice(-3), [102, 111, 111]);
  // Those that are not normalized are cut out first: `<x y>` is still whole, and takes no space then.
  assert.deepEqual(encode(' b<x y>'), [258, 259]);
  assert.deepEqual(encode('a  <x y> b'), [97, 259, 258]);
});

test('the longest added token wins where several begin', () => {
  const addedTokens = { '<a': 256, '<a>': 257, a: 258 };
  const ids = createTokenizer({ vocabJson: byteVocabulary({ a: 258 }), mergesTxt: '', addedTokens }).encode('<a><aa');
  assert.deepEqual(ids, [257, 256, 258]);
});

const bad: [string, TokenizerFiles, RegExp][] = [
  ['nothing', {}, /^vocab\.json: not found, and there is no tokenizer\.json/],
  ['no merges', { vocabJson: byteVocabulary() }, /^merges\.txt: not found/],
  ['vocab is a list', { ...files, vocabJson: [] }, /^vocab\.json: expected a JSON object, got an array/],
  ['vocab is text', { ...files, vocabJson: 'x' }, /^vocab\.json: expected a JSON object, got a string/],
  ['vocab is empty', { vocabJson: {}, mergesTxt: '' }, /^vocab\.json: the vocabulary is empty/],
  ['id is text', { vocabJson: { a: '1' }, mergesTxt: '' }, /^vocab\.json: token "a" has id "1", expected an integer/],
  ['id is negative', { vocabJson: { a: -1 }, mergesTxt: '' }, /has id -1/],
  ['id is a fraction', { vocabJson: { a: 1.5 }, mergesTxt: '' }, /has id 1\.5/],
  ['id is huge', { vocabJson: { a: 4e9 }, mergesTxt: '' }, /has id 4000000000/],
  ['id twice', { vocabJson: byteVocabulary({ b: 97 }), mergesTxt: '' }, /^vocab\.json: id 97 is both "a" and "b"/],
  ['merges is not text', { ...files, mergesTxt: [] as unknown as string }, /^merges\.txt: expected text, got object/],
  [
    'rule of three',
    { vocabJson: byteVocabulary(), mergesTxt: 'a b c' },
    /^merges\.txt: merge rule 1 is "a b c", expected two/,
  ],
  ['rule of one', { vocabJson: byteVocabulary(), mergesTxt: '#version\nab' }, /^merges\.txt: merge rule 1 is "ab"/],
  [
    'unknown part',
    { vocabJson: byteVocabulary({ zy: 256 }), mergesTxt: 'z yy' },
    /rule 1 \(z yy\) needs token "yy", not in/,
  ],
  ['unknown result', { vocabJson: byteVocabulary(), mergesTxt: 'z y' }, /needs token "zy", not in the vocabulary/],
  ['added_tokens.json is a list', { ...files, addedTokens: ['<img>'] }, /^added_tokens\.json: expected a JSON object/],
  ['added id taken', { ...files, addedTokens: { '<x>': 5 } }, /^added_tokens\.json: id 5 is both "»" and "<x>"/],
  [
    'added id other',
    { ...files, addedTokens: { the: 9000 } },
    /^added_tokens\.json: token "the" has id 9000, but 551 in/,
  ],
  ['added id twice', { ...files, addedTokens: { '<x>': 700, '<y>': 700 } }, /id 700 is both "<x>" and "<y>"/],
  ['added is empty', { ...files, addedTokens: { '': 700 } }, /token content is "", expected a non-empty string/],
  ['config is a list', { ...files, tokenizerConfig: [] }, /^tokenizer_config\.json: expected a JSON object/],
  ['map is text', { ...files, specialTokensMap: 'x' }, /^special_tokens_map\.json: expected a JSON object/],
  [
    'pad unknown',
    { ...files, specialTokensMap: { pad_token: '<p>' } },
    /pad_token "<p>" is in no vocabulary file; add it/,
  ],
  [
    'pad is a number',
    { ...files, specialTokensMap: { pad_token: 1 } },
    /pad_token: expected a JSON object, got a number/,
  ],
  ['tokenizer.json is text', { tokenizerJson: 'x' }, /^tokenizer\.json: expected a JSON object, got a string/],
  ['no model', { tokenizerJson: {} }, /^tokenizer\.json: model: expected a JSON object, got undefined/],
  [
    'WordPiece',
    { tokenizerJson: { ...json, model: { type: 'WordPiece' } } },
    /model type is "WordPiece", expected "BPE"/,
  ],
  [
    'no bytes',
    { tokenizerJson: { ...json, pre_tokenizer: { type: 'Whitespace' } } },
    /pre_tokenizer has no ByteLevel step/,
  ],
  [
    'another word end',
    { tokenizerJson: { ...json, model: { type: 'BPE', end_of_word_suffix: '@@' } } },
    /end_of_word_suffix is set/,
  ],
  [
    'no merges in json',
    { tokenizerJson: { ...json, model: { type: 'BPE', vocab: { a: 0 }, merges: 'x' } } },
    /merges: expected an array/,
  ],
  [
    'post-processor',
    { tokenizerJson: { ...json, post_processor: { type: 'RobertaProcessing', cls: ['<q>', 0], sep: ['</s>', 2] } } },
    /post_processor adds "<q>"/,
  ],
  [
    'unknown post-processor',
    { tokenizerJson: { ...json, post_processor: { type: 'Odd' } } },
    /^tokenizer\.json: cannot be used: /,
  ],
];

for (const [name, given, message] of bad) {
  test(`bad files: ${name}`, () => {
    assert.throws(
      () => createTokenizer(given),
      (error: unknown) => {
        assert.ok(error instanceof InputError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
