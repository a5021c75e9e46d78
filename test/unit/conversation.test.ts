import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InputError } from '../../src/core/errors.js';
import { charOfByte } from '../../src/text/byte-level.js';
import { collate } from '../../src/text/collate.js';
import {
  type ConversationOptions,
  type EncodedConversation,
  encodeConversation,
  encodeConversationPrompt,
} from '../../src/text/conversation.js';
import { imageTokensOf } from '../../src/text/image-tokens.js';
import type { ConversationSample, Message } from '../../src/text/messages.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { optTokenizer } from '../helpers/tokenizers.js';

interface SeedExpected {
  image_token_len: number;
  default: { ids: number[]; turns: [number, number][]; kept: [number, number][] };
  reference: { max_length: number; ids: number[]; message_lengths: number[]; kept: [number, number][] };
}

const seed = fixtureJson<{ image: string; conversations: Message[] }>('seed-conversation.json');
const expected = fixtureJson<SeedExpected>('seed-conversation.expected.json');
const tokenizer = optTokenizer();
const images = imageTokensOf(tokenizer, { image_token_len: 256 });
const small = imageTokensOf(tokenizer, { image_token_len: 3 });
const block = [618, 617, 617, 617, 619];

/** [start, end) of every learned run. */
function keptSpans({ labels }: EncodedConversation): [number, number][] {
  const starts = labels.flatMap((label, i) => (label !== -100 && (i === 0 || labels[i - 1] === -100) ? [i] : []));
  return starts.map((start) => {
    const length = labels.slice(start).indexOf(-100);
    return [start, length < 0 ? labels.length : start + length];
  });
}

/** The text of every learned run. */
function keptTexts(encoded: EncodedConversation, by = tokenizer): string[] {
  return keptSpans(encoded).map(([start, end]) => by.decode(encoded.inputIds.slice(start, end)));
}

function assertLabels({ inputIds, labels }: EncodedConversation): void {
  assert.equal(labels.length, inputIds.length);
  labels.forEach((label, i) => {
    assert.ok(label === -100 || label === inputIds[i]);
  });
}

test("the seed's conversation: ten messages, the first one the image", () => {
  assert.deepEqual(
    seed.conversations.map(({ from }) => from),
    ['human', 'gpt', 'human', 'gpt', 'human', 'gpt', 'human', 'gpt', 'human', 'gpt'],
  );
  assert.equal(seed.conversations[0].value, '<image>');
  assert.match(seed.conversations[9].value, /^There could be several reasons .* mundane scene\.$/s);
});

test("the seed's conversation: ids and what is learned", () => {
  const encoded = encodeConversation(tokenizer, images, seed);
  assert.deepEqual(encoded.inputIds, expected.default.ids);
  assertLabels(encoded);
  // By hand: bos, <img>, 256 pads, </img>, '\n' are 0 to 259, so that the first answer begins at 260.
  assert.deepEqual(keptSpans(encoded), [
    [260, 316],
    [347, 410],
    [427, 441],
    [462, 504],
    [568, 1373],
  ]);
  assert.deepEqual(keptSpans(encoded), expected.default.kept);
  assert.deepEqual(encoded.inputIds.slice(0, 2), [2, 618]);
  assert.deepEqual(encoded.inputIds.slice(2, 258), new Array(256).fill(617));
  assert.deepEqual([encoded.inputIds.length, encoded.inputIds[258], encoded.inputIds[1372]], [1373, 619, 2]);
  const answers = seed.conversations.filter(({ from }) => from === 'gpt').map(({ value }) => `${value}\n`);
  assert.deepEqual(keptTexts(encoded), [...answers.slice(0, 4), `${answers[4]}</s>`]);
});

test("the seed's conversation with its pads written out is the same", () => {
  const value = `<img>${'<imgpad>'.repeat(256)}</img>`;
  const written = [{ from: 'human', value }, ...seed.conversations.slice(1)];
  const whole = encodeConversation(tokenizer, images, seed);
  assert.deepEqual(encodeConversation(tokenizer, images, written), whole);
  assert.deepEqual(encodeConversation(tokenizer, images, { image: 'truck.jpg', conversations: written }), whole);
  assert.deepEqual(encodeConversation(tokenizer, images, seed.conversations), whole);
});

test("the seed's conversation with Vary's mask: every turn after the first answer is learned, questions too", () => {
  const { reference } = expected;
  const options: ConversationOptions = { labelMask: 'reference', maxLength: reference.max_length };
  const encoded = encodeConversation(tokenizer, images, seed, options);
  assert.deepEqual(encoded.inputIds, reference.ids);
  assertLabels(encoded);
  // By hand: the newline after </img> is lost, so the first answer begins at 259; of the later questions the longest alone
  // is 65 ids, less than the position 260 from which it would be masked.
  assert.deepEqual(keptSpans(encoded), [[259, 1372]]);
  assert.deepEqual(keptSpans(encoded), reference.kept);
  assert.ok(keptTexts(encoded)[0].includes('What color is the pickup truck?'));
});

/** Bytes, the merge of two newlines, and of a space and an A. */
const straddling = createTokenizer({
  vocabJson: {
    ...Object.fromEntries(Array.from({ length: 256 }, (_, byte) => [charOfByte(byte), byte])),
    ĊĊ: 256,
    ĠA: 257,
    '</s>': 258,
    '<img>': 259,
    '<imgpad>': 260,
    '</img>': 261,
  },
  mergesTxt: 'Ċ Ċ\nĠ A\n',
  addedTokens: { '<img>': 259, '<imgpad>': 260, '</img>': 261 },
  tokenizerConfig: { add_bos_token: true, bos_token: '</s>', eos_token: '</s>' },
});
const straddlingImages = imageTokensOf(straddling, { image_token_len: 1 });
const [q, a, newline] = ['q', 'a', '\n'].map((char) => char.charCodeAt(0));

test('a token across two turns is one token of the joined text, and not learned if a human has a part of it', () => {
  const talk = (...values: string[]) => values.map((value, i) => ({ from: i % 2 === 0 ? 'human' : 'gpt', value }));
  const toGpt = encodeConversation(straddling, straddlingImages, talk('q', '\n\na'));
  // 'q' '\n' | '\n' '\n' 'a' '\n': of three newlines the last stands before a letter, so the first two are one token.
  assert.deepEqual(toGpt.inputIds, [258, q, 256, newline, a, newline, 258]);
  assert.deepEqual(toGpt.labels, [-100, -100, -100, newline, a, newline, 258]);
  const toHuman = encodeConversation(straddling, straddlingImages, talk('q', 'a', '\n\nq', 'a'));
  assert.deepEqual(toHuman.inputIds, [258, q, newline, a, 256, newline, q, newline, a, newline, 258]);
  assert.deepEqual(toHuman.labels, [-100, -100, -100, a, -100, -100, -100, -100, a, newline, 258]);
  const insideAnswer = encodeConversation(straddling, straddlingImages, talk('q', 'a\n'));
  assert.deepEqual(insideAnswer.labels, [-100, -100, -100, a, 256, 258]);
});

test('turnSignal stands before every turn and is not learned, but the token it shares with an answer is', () => {
  const signal = [...'###'].map((char) => char.charCodeAt(0));
  const talk = [
    { from: 'human', value: 'q' },
    { from: 'gpt', value: 'A' },
  ];
  const { inputIds, labels } = encodeConversation(straddling, straddlingImages, talk, { turnSignal: '### ' });
  assert.deepEqual(inputIds, [258, ...signal, 32, q, newline, ...signal, 257, newline, 258]);
  assert.deepEqual(labels, [...new Array(10).fill(-100), 257, newline, 258]);
  const prompt = encodeConversationPrompt(straddling, straddlingImages, talk.slice(0, 1), { turnSignal: '### ' });
  assert.deepEqual(prompt, inputIds.slice(0, 10));
  const off = encodeConversation(straddling, straddlingImages, talk);
  assert.deepEqual(off.inputIds, [258, q, newline, 65, newline, 258]);
});

test('any conversation: what is learned is the answers, and the ids are those of the joined text', () => {
  const value = fc.string({ unit: fc.constantFrom('a', 'B', ' ', '.', 'é', '😀', '<img>', '</s>'), maxLength: 8 });
  const from = fc.constantFrom('human', 'gpt', 'HUMAN', 'Gpt', 'user', 'assistant');
  fc.assert(
    fc.property(fc.array(fc.record({ from, value }), { minLength: 1, maxLength: 6 }), (messages) => {
      const encoded = encodeConversation(tokenizer, images, messages);
      const joined = messages.map((message) => `${message.value}\n`).join('');
      assert.deepEqual(encoded.inputIds, [...tokenizer.encode(joined, { literal: true }), 2]);
      assertLabels(encoded);
      const bytes = encodeConversation(straddling, straddlingImages, messages.map(withoutNewlineRuns));
      const answers = messages
        .map(withoutNewlineRuns)
        .filter((message) => /gpt|assistant/i.test(message.from))
        .map((message) => `${message.value}\n`);
      assert.equal(keptTexts(bytes, straddling).join(''), `${answers.join('')}</s>`);
    }),
    { numRuns: 500 },
  );
});

/** An empty value would make a run of newlines, which is one token. */
function withoutNewlineRuns({ from, value }: Message): Message {
  return { from, value: value === '' ? 'x' : value };
}

test('the question beside the picture stays', () => {
  const sample = {
    image: 'a.png',
    conversations: [
      { from: 'Human', value: '<image>\nOCR this image' },
      { from: 'GPT', value: 'The fox' },
    ],
  };
  const encoded = encodeConversation(tokenizer, small, sample);
  const question = tokenizer.encode('\nOCR this image\n', { addSpecialTokens: false });
  assert.deepEqual(encoded.inputIds.slice(0, 6 + question.length), [2, ...block, ...question]);
  assert.deepEqual(keptTexts(encoded), ['The fox\n</s>']);
  const conversations = [{ from: 'human', value: 'OCR this image' }, sample.conversations[1]];
  assert.deepEqual(encodeConversation(tokenizer, small, { image: 'a.png', conversations }), encoded);
});

test('several images, and one in an answer: no pad is learned', () => {
  const conversations = [
    { from: 'human', value: 'first <image> second <image>' },
    { from: 'gpt', value: 'like this: <image>.' },
  ];
  const encoded = encodeConversation(tokenizer, small, { image: ['a', 'b', 'c'], conversations });
  assert.equal(encoded.inputIds.filter((id) => id === 617).length, 9);
  assert.deepEqual(keptTexts(encoded), ['like this: ', '.\n</s>']);
  const padsOnly = imageTokensOf(tokenizer, { image_token_len: 3, use_im_start_end: false });
  const pads = encodeConversation(tokenizer, padsOnly, { image: ['a', 'b', 'c'], conversations });
  assert.deepEqual(
    pads.inputIds,
    encoded.inputIds.filter((id) => id !== 618 && id !== 619),
  );
});

test('images and their places must agree', () => {
  const talk = (value: string, image?: unknown): ConversationSample => ({
    ...(image === undefined ? {} : { image }),
    conversations: [
      { from: 'human', value },
      { from: 'gpt', value: 'x' },
    ],
  });
  const refused = (sample: ConversationSample, message: RegExp) =>
    assert.throws(() => encodeConversation(tokenizer, small, sample, { where: 'line 7' }), {
      name: 'InputError',
      message,
    });
  refused(talk('<image>'), /^line 7: 0 image\(s\) for 1 <image>; write one <image> per image$/);
  refused(talk('<image><image>', 'a.png'), /^line 7: 1 image\(s\) for 2 <image>/);
  refused(talk('<image>', ['a', 'b']), /^line 7: 2 image\(s\) for 1 <image>/);
  refused({ image: 'a', conversations: [{ from: 'gpt', value: 'x' }] }, /no turn has <image> and gpt speaks first/);
  const textOnly = encodeConversation(tokenizer, small, talk('2+2?'));
  assert.equal(textOnly.inputIds.includes(617), false);
  const two = encodeConversation(tokenizer, small, talk('compare', ['a', 'b']));
  assert.deepEqual(two.inputIds.slice(0, 11), [2, ...block, ...block]);
});

test('markers in a text are its words: none becomes a token', () => {
  const value = 'use <img> and </img>, end with </s> or <pad>';
  const encoded = encodeConversation(tokenizer, small, [
    { from: 'human', value },
    { from: 'gpt', value },
  ]);
  const isMarker = (id: number) => tokenizer.isSpecial(id) || id > 616;
  assert.deepEqual(encoded.inputIds.filter(isMarker), [2, 2]);
  assert.equal(tokenizer.decode(encoded.inputIds), `</s>${value}\n${value}\n</s>`);
  assert.deepEqual(keptTexts(encoded), [`${value}\n</s>`]);
});

test('a long conversation is cut on the right, never in an image', () => {
  const conversations = [
    { from: 'human', value: 'look <image>' },
    { from: 'gpt', value: 'and then <image> too' },
  ];
  const sample = { image: ['a', 'b'], conversations };
  const whole = encodeConversation(tokenizer, small, sample);
  const secondEnd = whole.inputIds.lastIndexOf(619) + 1;
  for (let maxLength = whole.inputIds.length; maxLength >= secondEnd; maxLength--) {
    const cut = encodeConversation(tokenizer, small, sample, { maxLength });
    assert.deepEqual(cut.inputIds, whole.inputIds.slice(0, maxLength));
    assert.deepEqual(cut.labels, whole.labels.slice(0, maxLength));
    assert.equal(cut.truncated, maxLength < whole.inputIds.length);
  }
  for (const maxLength of [secondEnd - 1, secondEnd - 5, secondEnd - 6, 3, 1]) {
    const cut = () => encodeConversation(tokenizer, small, sample, { maxLength, where: 'sample 3' });
    assert.throws(cut, {
      name: 'InputError',
      message: /^sample 3: an image takes tokens \d+ to \d+, maxLength is \d+; raise it/,
    });
  }
  for (const maxLength of [0, -1, 2.5, Number.NaN]) {
    assert.throws(() => encodeConversation(tokenizer, small, sample, { maxLength }), InputError);
  }
});

test('speakers: human and gpt in any case, others only by name', () => {
  const talk = [
    { from: 'System', value: 'be brief' },
    { from: 'HUMAN', value: 'q' },
    { from: 'Assistant', value: 'a' },
  ];
  assert.throws(() => encodeConversation(tokenizer, small, talk), {
    name: 'InputError',
    message: 'conversation: message 0 is from "System", expected human or gpt; name other speakers in `roles`',
  });
  const encoded = encodeConversation(tokenizer, small, talk, { roles: { system: 'human' } });
  assert.deepEqual(keptTexts(encoded), ['a\n</s>']);
  const odd = [{ from: 'constructor', value: 'x' }];
  assert.throws(() => encodeConversation(tokenizer, small, odd), InputError);
});

test('samples that are no conversation are refused', () => {
  const samples: unknown[] = [
    [],
    {},
    null,
    'x',
    { conversations: [] },
    [{ from: 'human' }],
    [{ value: 'x' }],
    [null],
    [['human', 'x']],
  ];
  for (const sample of samples) {
    for (const labelMask of ['answers', 'reference'] as const) {
      const encode = () => encodeConversation(tokenizer, small, sample as ConversationSample, { labelMask });
      assert.throws(encode, InputError, JSON.stringify(sample));
    }
  }
  const talk = [{ from: 'human', value: 'x' }];
  const both: ConversationOptions = { labelMask: 'reference', turnSignal: '### ' };
  assert.throws(() => encodeConversation(tokenizer, small, talk, both), InputError);
});

test('a sample is not changed', () => {
  const sample = structuredClone(seed);
  encodeConversation(tokenizer, images, sample);
  encodeConversation(tokenizer, images, sample, { labelMask: 'reference' });
  assert.deepEqual(sample, seed);
});

test('a prompt is the conversation up to the answer', () => {
  const whole = encodeConversation(tokenizer, images, seed);
  const prompt = encodeConversationPrompt(tokenizer, images, seed.conversations.slice(0, 9));
  assert.deepEqual(prompt, whole.inputIds.slice(0, 568));
});

test('collate: padded on the right, and both masks', () => {
  const samples = [
    { inputIds: [2, 5, 1, 2], labels: [-100, 5, 1, 2] },
    { inputIds: [2, 7], labels: [-100, 7] },
  ];
  const batch = collate(samples, { padId: 1 });
  assert.deepEqual(batch.inputIds, [
    [2, 5, 1, 2],
    [2, 7, 1, 1],
  ]);
  assert.deepEqual(batch.labels, [
    [-100, 5, 1, 2],
    [-100, 7, -100, -100],
  ]);
  assert.deepEqual(batch.attentionMask, [
    [1, 1, 1, 1],
    [1, 1, 0, 0],
  ]);
  assert.deepEqual(collate(samples, { padId: 1, mask: 'reference' }).attentionMask, [
    [1, 1, 0, 1],
    [1, 1, 0, 0],
  ]);
  assert.deepEqual(collate([], { padId: 1 }), { inputIds: [], labels: [], attentionMask: [] });
  assert.throws(() => collate([{ inputIds: [1, 2], labels: [1] }], { padId: 1 }), InputError);
});
