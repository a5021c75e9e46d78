import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { expandImages, imageBlockIds, imageTokensOf, splitAtImages } from '../../src/text/image-tokens.js';
import { readPrompt } from '../../src/text/prompt.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { optTokenizer, tokenizerFiles } from '../helpers/tokenizers.js';

const tokenizer = optTokenizer();
const config = {
  im_patch_token: 617,
  im_start_token: 618,
  im_end_token: 619,
  image_token_len: 3,
  use_im_start_end: true,
};
const images = imageTokensOf(tokenizer, config);
const padsOnly = imageTokensOf(tokenizer, { ...config, use_im_start_end: false });

test('<image> becomes <img>, the pads, </img>, as often as it is there', () => {
  assert.equal(expandImages('<image>', images), '<img><imgpad><imgpad><imgpad></img>');
  assert.equal(expandImages('<image>', { length: 256, useStartEnd: true }), `<img>${'<imgpad>'.repeat(256)}</img>`);
  const two = expandImages('a <image>\nb <image>', padsOnly);
  assert.equal(two, 'a <imgpad><imgpad><imgpad>\nb <imgpad><imgpad><imgpad>');
  assert.equal(expandImages('no image, <Image>', images), 'no image, <Image>');
});

test('the block as ids', () => {
  assert.deepEqual(imageBlockIds(images), [618, 617, 617, 617, 619]);
  assert.deepEqual(imageBlockIds(padsOnly), [617, 617, 617]);
  assert.deepEqual(tokenizer.encode(expandImages('<image>', images)), [2, 618, 617, 617, 617, 619]);
});

test('256 pads with start and end where config.json says nothing, ids from the tokenizer', () => {
  const ids = { padId: 617, startId: 618, endId: 619 };
  assert.deepEqual(imageTokensOf(tokenizer, {}), { length: 256, useStartEnd: true, ...ids });
  assert.deepEqual(padsOnly, { length: 3, useStartEnd: false, padId: 617, startId: undefined, endId: undefined });
});

test('a tokenizer without <imgpad> says what to add', () => {
  const plain = createTokenizer(tokenizerFiles('tokenizer-opt/tokenizer', ['tokenizer.json', 'added_tokens.json']));
  assert.throws(() => imageTokensOf(plain, config), {
    name: 'InputError',
    message:
      'tokenizer: it has no <imgpad>, so it has no place for an image; add { "<imgpad>": 617 } to added_tokens.json',
  });
});

test('config.json and tokenizer that disagree are refused', () => {
  const other = { ...config, im_start_token: 50266 };
  const message =
    "config.json: im_start_token is 50266, but the tokenizer's <img> is 618; " +
    'take config.json and the tokenizer files from one checkpoint';
  assert.throws(() => imageTokensOf(tokenizer, other), { name: 'InputError', message });
  for (const image_token_len of [0, -1, 2.5, Number.NaN]) {
    assert.throws(() => imageTokensOf(tokenizer, { image_token_len }), InputError);
  }
});

test('an image is <image> or the whole block; other markers are words', () => {
  const block = '<img><imgpad><imgpad><imgpad></img>';
  assert.deepEqual(splitAtImages(`a${block}b<image>c`, images), ['a', 'b', 'c']);
  assert.deepEqual(splitAtImages('<img src="x"> </img> <imgpad><imgpad>', images), [
    '<img src="x"> </img> <imgpad><imgpad>',
  ]);
  assert.deepEqual(splitAtImages('<img><imgpad></img>', images), ['<img><imgpad></img>']);
  assert.deepEqual(splitAtImages('<imgpad><imgpad><imgpad>|<imgpad><imgpad><imgpad><imgpad>', padsOnly), [
    '',
    '|<imgpad><imgpad><imgpad><imgpad>',
  ]);
});

const block = [618, 617, 617, 617, 619];
const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false, literal: true });

test('the prompt of the released demo: the image and nothing else', () => {
  assert.deepEqual(readPrompt(tokenizer, images), [2, ...block]);
  assert.deepEqual(readPrompt(tokenizer, images, { images: 2 }), [2, ...block, ...block]);
  assert.deepEqual(readPrompt(tokenizer, images, { images: 0, text: 'Hello' }), [2, ...encode('Hello')]);
});

test('an instruction follows the image without whitespace, as the slow tokenizer had it', () => {
  const text = 'Provide the OCR results of this image.';
  const slow = tokenizer.encode(`<img><imgpad><imgpad><imgpad></img>\n${text}`, { whitespace: 'reference' });
  assert.deepEqual(readPrompt(tokenizer, images, { text }), slow);
  assert.deepEqual(slow, [2, ...block, ...encode(text)]);
});

test('run_opt_with_text.py: the same in a conversation template', () => {
  const before =
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: ";
  const prompt = `${before}<img><imgpad><imgpad><imgpad></img>\nProvide the OCR results of this image. ASSISTANT:`;
  assert.deepEqual(
    readPrompt(tokenizer, images, { text: 'Provide the OCR results of this image.', template: 'vicuna' }),
    tokenizer.encode(prompt, { whitespace: 'reference' }),
  );
});

test('the prompt for checkpoints trained here ends with the newline of the human turn', () => {
  const text = 'What is this?';
  const template = 'conversation';
  assert.deepEqual(readPrompt(tokenizer, images, { template }), [2, ...block, ...encode('\n')]);
  assert.deepEqual(readPrompt(tokenizer, images, { text, template }), [2, ...block, ...encode(`\n${text}\n`)]);
  assert.deepEqual(readPrompt(tokenizer, images, { text, template, turnSignal: '### ' }), [
    2,
    ...encode('### '),
    ...block,
    ...encode(`\n${text}\n###`),
  ]);
});

test('<image> in the instruction is the place; numbers must agree', () => {
  assert.deepEqual(readPrompt(tokenizer, images, { text: 'see <image> here' }), [
    2,
    ...encode('see'),
    ...block,
    ...encode('here'),
  ]);
  assert.throws(() => readPrompt(tokenizer, images, { text: '<image> <image>' }), {
    name: 'InputError',
    message: 'prompt: 1 image(s) for 2 <image>; write one <image> per image',
  });
  assert.throws(() => readPrompt(tokenizer, images, { images: 1.5 }), InputError);
  assert.throws(() => readPrompt(tokenizer, images, { turnSignal: '### ' }), InputError);
  assert.throws(() => readPrompt(tokenizer, images, { template: 'constructor' as 'plain' }), InputError);
});

test('markers in the instruction stay words', () => {
  const ids = readPrompt(tokenizer, images, { text: 'what does </s><img> mean' });
  assert.deepEqual(ids.slice(6), encode('what does </s><img> mean'));
  assert.equal(ids.filter((id) => id === 2 || id === 618).length, 2);
});
