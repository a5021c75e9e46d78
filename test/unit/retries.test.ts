import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { floats } from '../../src/core/tensor.js';
import type { SlotBatch } from '../../src/infer/decoder.js';
import { createEngine, type EngineModel } from '../../src/infer/engine.js';
import type { PreparedImage } from '../../src/infer/prepare.js';
import { readPrepared } from '../../src/infer/read-prepared.js';
import type { Reader } from '../../src/infer/reader.js';
import type { ReadOptions, ReadResult } from '../../src/infer/reading.js';
import { lineWays } from '../../src/infer/retries.js';
import { type VaryConfig, varyNano } from '../../src/models/vary.js';
import { imageTokensOf } from '../../src/text/image-tokens.js';
import { optTokenizer } from '../helpers/tokenizers.js';

const tokenizer = optTokenizer();
const imageTokens = imageTokensOf(tokenizer, { image_token_len: 2 });
const eos = tokenizer.special.eos as number;
const idOf = (letter: string) => tokenizer.encode(letter, { addSpecialTokens: false })[0];

/**
 * What may follow a token, likeliest first; a letter is a token, '.' the end, and after '?' all are nearly as likely. `feature` is
 * that of the row's picture.
 */
type Script = (letter: string, feature: number) => string;

/** A model that writes as a script says, and counts its runs. */
function scripted(script: Script) {
  const runs = { tower: 0, fill: 0, step: 0 };
  const letters = new Map([...'abcdefghijklmnopqrstuvwxyz,'].map((letter) => [idOf(letter), letter]));
  const logitsAfter = (token: number, feature: number) => {
    const logits = new Float32Array(tokenizer.size).fill(-9);
    const next = script(letters.get(token) ?? '', feature);
    const step = next.startsWith('?') ? 0.1 : 2;
    [...next.replace('?', '')].forEach((letter, i) => {
      logits[letter === '.' ? eos : idOf(letter)] = 9 - step * i;
    });
    return logits;
  };
  const openSlots = (count: number): SlotBatch => {
    const features = Array<number | undefined>(count).fill(undefined);
    return {
      fill: async (first, prompts) => {
        runs.fill++;
        prompts.forEach(({ images }, i) => {
          assert.equal(features[first + i], undefined, 'a slot is filled that is not empty');
          features[first + i] = images?.features.data[0];
        });
        return prompts.map(({ ids }, i) => [logitsAfter(ids.at(-1) as number, features[first + i] as number)]);
      },
      accept: () => undefined,
      clear: (row) => {
        features[row] = undefined;
      },
      step: async (tokens) => {
        runs.step++;
        return tokens.map((token, i) => logitsAfter(token ?? 0, features[i] ?? 0));
      },
      reorder: () => assert.fail('the engine moves no rows'),
      dispose: () => undefined,
    };
  };
  const model: EngineModel = {
    decoder: { maxPositions: 400, openSlots },
    // A picture's feature is how many of its values are ink.
    tower: [
      async ({ shape: [images], data }) => {
        runs.tower++;
        const size = data.length / images;
        const inkOf = (_: unknown, i: number) => data.slice(i * size, (i + 1) * size).filter((value) => value > 0.5);
        const counts = Array.from({ length: images }, inkOf).map(({ length }) => length);
        return { x: floats([images, 1, 1], counts) };
      },
    ],
    towerImages: () => 1,
    promptOf: (ids, features) => ({ ids, images: { features, source: ids.map((_, i) => i) } }),
  };
  return { model, runs };
}

function open(script: Script, input: VaryConfig['input']) {
  const { model, runs } = scripted(script);
  const engine = createEngine([model], { slots: 4 });
  const decoder = { ...varyNano.decoder, eosIds: [eos], maxPositions: 400 };
  const reader: Reader = {
    config: { ...varyNano, decoder, input },
    tokenizer,
    imageTokens,
    promptStyle: undefined,
    engine,
  };
  /** A reading and what was streamed of it. */
  const read = async (image: PreparedImage, options: ReadOptions = {}) => {
    const streamed: string[] = [];
    const result = await readPrepared(reader, image, { ...options, onText: (text) => streamed.push(text) });
    assert.equal(streamed.join(''), result.text);
    return { ...result, streamed };
  };
  return { read, runs, engine };
}

const page: PreparedImage = { kind: 'page', pixels: floats([3, 1, 1], [1, 0, 0]), lineAspects: [4] };
/** From letter to letter of the alphabet. */
const nextLetter = (letter: string) => (letter === '' ? 'a' : String.fromCharCode(letter.charCodeAt(0) + 1));
/** The alphabet up to h, where it goes back to d over and over unless it may not. */
const loops: Script = (letter) => (letter === 'h' ? 'dij' : letter === 'k' ? '.' : nextLetter(letter));

test('a page in a loop goes on from before it, with the picture it has; what was said before stays as it was', async () => {
  const seen: Script = (letter, feature) => (feature === 1 ? loops(letter, feature) : '.');
  const { read, runs } = open(seen, 'page');
  const result = await read(page);
  assert.deepEqual([result.text, result.finishReason], ['abcdefghijk', 'stop']);
  assert.deepEqual(result.retried, [{ problem: 'repetition', attempts: 2, kept: 2 }]);
  assert.deepEqual(result.warnings, ['reading fell into a loop and was tried 2 times: attempt 2 is the text']);
  assert.equal(result.usage.completionTokens, 12);
  assert.deepEqual([runs.tower, runs.fill], [1, 2]);
});

test('nothing of a loop is streamed before it is known to be none', async () => {
  // d to h twice, as a table may have it, and on.
  let passages = 0;
  const twice: Script = (letter) => {
    if (letter === '') passages = 0;
    return letter === 'h' ? (++passages < 2 ? 'd' : 'i') : letter === 'k' ? '.' : nextLetter(letter);
  };
  const { streamed, text, retried } = await open(twice, 'page').read(page);
  assert.deepEqual([text, retried], ['abcdefghdefghijk', undefined]);
  assert.deepEqual(streamed.slice(0, 9), [...'abcdefgh', 'defghi']);
});

test('a page that no attempt reads ends before its loop, and says how often it was tried', async () => {
  // From d to h there are enough ways on for many a passage that was not there before.
  const ways = new Map([...'defgh'].map((letter, i) => [letter, `${'efghd'.slice(i)}${'efghd'.slice(0, i)}`]));
  const always: Script = (letter) => ways.get(letter) ?? nextLetter(letter);
  const { read, runs } = open(always, 'page');
  const result = await read(page, { maxNewTokens: 120 });
  assert.equal(result.text, 'abcdefgh');
  assert.deepEqual([result.finishReason, runs.tower], ['repetition', 1]);
  assert.deepEqual(result.retried, [{ problem: 'repetition', attempts: 3, kept: 1 }]);
  assert.match(result.warnings.join(), /loop and was stopped,reading fell into a loop and was tried 3 times: none/);
  const { retried } = await read(page, { maxNewTokens: 120, retries: 1 });
  assert.deepEqual(retried, [{ problem: 'repetition', attempts: 2, kept: 1 }]);
});

test('without retries a page in a loop is as it was decoded', async () => {
  for (const options of [{ retries: 0 }, { stopLoops: false, maxNewTokens: 90 }]) {
    const result = await open(loops, 'page').read(page, options);
    assert.match(result.text, /^abc(defgh){10,}/);
    assert.deepEqual([result.retried, result.usage.completionTokens], [undefined, result.text.length]);
    assert.equal(result.finishReason, 'retries' in options ? 'repetition' : 'length');
  }
  await assert.rejects(open(loops, 'page').read(page, { retries: -1 }), InputError);
  await assert.rejects(open(loops, 'page').read(page, { retries: 0.5 }), /retries: expected a whole number from 0/);
});

test('stop strings hold in a page that was tried again', async () => {
  const result = await open(loops, 'page').read(page, { stop: ['jk'] });
  assert.deepEqual([result.text, result.finishReason], ['abcdefghi', 'stop']);
});

const height = 32;
/** A line with so many columns of ink, and white at both ends. */
function inked(columns: number) {
  const width = columns + 40;
  const data = new Uint8Array(width * height).fill(255);
  for (let y = 8; y < 24; y++) data.fill(0, y * width + 20, y * width + 20 + columns);
  return { width, height, data };
}
/** What the scripted tower makes of a line. */
const inkOf = (line: { readonly data: Uint8Array }) => line.data.filter((value) => value < 128).length;

function pageOf(...columns: readonly number[]): PreparedImage {
  const box = { left: 0, top: 0, width: 100, height: 20 };
  const line = { box, block: 0, paragraph: 0, segments: [{ box, spaceBefore: false }] };
  const pieces = columns.map((count, i) => ({ line: i, spaceBefore: false, image: inked(count) }));
  return {
    kind: 'lines',
    plan: { pieces, page: { page: { width: 200, height: 200 }, skew: 0, lines: pieces.map(() => line) } },
  };
}

/** The scripted tower sees three channels, and ink a little otherwise where it was resized. */
const isLine = (feature: number, line: { readonly data: Uint8Array }) => Math.abs(feature / 3 / inkOf(line) - 1) < 0.12;
const texts = ({ lines = [] }: ReadResult) => lines.map(({ text }) => text);

test('a line in a loop, one without text and one that is uncertain are shown again until one is read', async () => {
  const [looping, blank, unsure, good] = [40, 80, 200, 320].map(inked);
  const [smaller, wider] = lineWays.map((way) => (line: ReturnType<typeof inked>) => way(line, 384));
  const script: Script = (letter, feature) => {
    if (isLine(feature, looping)) return letter === 'c' ? 'a' : nextLetter(letter);
    if (isLine(feature, unsure)) return letter === '' ? '?wxyz' : '?.st';
    if (letter !== '' || isLine(feature, blank)) return '.';
    if (isLine(feature, smaller(looping))) return 'l';
    if (isLine(feature, smaller(unsure))) return 'u';
    if (isLine(feature, wider(blank))) return 'b';
    return isLine(feature, good) ? 'g' : '.';
  };
  const { read, runs } = open(script, 'line');
  const result = await read(pageOf(40, 80, 200, 320));
  assert.deepEqual([texts(result), result.finishReason, runs.tower], [['l', 'b', 'u', 'g'], 'stop', 8]);
  assert.deepEqual(result.retried, [
    { line: 0, problem: 'repetition', attempts: 2, kept: 2 },
    { line: 1, problem: 'empty', attempts: 3, kept: 3 },
    { line: 2, problem: 'uncertain', attempts: 2, kept: 2 },
  ]);
  const warning = '3 lines fell into a loop or had no text or had little confidence and were read again: 3 better';
  assert.deepEqual(result.warnings, [warning]);
  const off = await read(pageOf(40, 80, 200, 320), { retries: 0 });
  assert.match(off.text, /^(abc){20,}/);
  assert.deepEqual([off.finishReason, off.retried], ['repetition', undefined]);
});

test('of attempts that are all uncertain the most confident counts', async () => {
  const line = inked(100);
  const script: Script = (letter, feature) => {
    if (letter !== '') return '?.st';
    if (isLine(feature, line)) return '?abcdef';
    return isLine(feature, lineWays[0](line, 384)) ? '?xyz' : '?ghijkl';
  };
  const result = await open(script, 'line').read(pageOf(100));
  assert.deepEqual([result.text, result.retried], ['x', [{ line: 0, problem: 'uncertain', attempts: 3, kept: 2 }]]);
  assert.ok(Math.abs((result.lines?.[0].confidence ?? 0) - 0.3672) < 0.001);
});

/** Lines that say b, c, d and so on by how much ink they have. */
const byInk: Script = (letter, feature) => {
  if (letter !== '') return '.';
  return [...'bcde'].find((_, i) => isLine(feature, inked(40 * 2 ** i))) ?? '.';
};

test('stop strings end a page that is read line by line, where its joined text has them', async () => {
  const { read, engine, runs } = open(byInk, 'line');
  const four = pageOf(40, 80, 160, 320);
  const whole = await read(four);
  assert.deepEqual([whole.text, whole.streamed], ['b\nc\nd\ne', ['b', '\nc', '\nd', '\ne']]);
  const cut = await read(four, { stop: ['\nd'] });
  assert.deepEqual([cut.text, cut.finishReason, cut.warnings], ['b\nc', 'stop', []]);
  assert.deepEqual(texts(cut), ['b', 'c']);
  assert.equal(cut.streamed.join(''), 'b\nc');
  const first = await read(four, { stop: ['b'] });
  assert.deepEqual([first.text, first.lines?.length, first.finishReason], ['', 0, 'stop']);
  const none = await read(four, { stop: ['\ne!'] });
  assert.deepEqual([none.text, none.streamed.join('|')], [whole.text, 'b|\nc|\nd|\ne']);
  await assert.rejects(read(four, { stop: [''] }), InputError);
  assert.deepEqual(engine.load(), { slots: 4, usedSlots: 0, running: 0, waiting: 0 });
  // Of many lines those after the stop string are not read.
  const before = runs.tower;
  await read(pageOf(40, ...Array<number>(30).fill(80)), { stop: ['c'] });
  assert.ok(runs.tower - before < 12, `${runs.tower - before} lines were read`);
});
