import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeightsError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { type JsonValue, parseStrictJson } from '../../src/weights/strict-json.js';

const plain = (value: JsonValue): unknown =>
  value instanceof Map
    ? Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]))
    : Array.isArray(value)
      ? value.map(plain)
      : value;

const parse = (text: string) => parseStrictJson(text, 'here');

/** JSON.parse's outcome, or undefined where it throws. */
function parsed(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

const samples = [
  '{}',
  '[]',
  'null',
  ' true ',
  '\t\n\r[1]',
  '-0',
  '0',
  '1e2',
  '1.5E-3',
  '123456789012345678901234567890',
  '1e999',
  '"\\u0041\\n\\"\\\\/\\/"',
  '"🙂"',
  '"\\ud83d\\ude42"',
  '{"a":{"b":[1,{"c":null}]},"":0}',
  '[[[[]]]]',
];
const broken = [
  '',
  ' ',
  '{',
  '}',
  '[1,]',
  '{"a":1,}',
  '{a:1}',
  "{'a':1}",
  '01',
  '1.',
  '.5',
  '+1',
  '- 1',
  '1 2',
  'nul',
  'True',
  'NaN',
  'Infinity',
  '"\n"',
  '"\\x41"',
  '"\\u12"',
  '"',
  '[1}',
  '{"a" 1}',
  '{"a":}',
  '\u00a0{}',
  '\ufeff{}',
  '//x\n1',
  '[1,,2]',
  '{"a":1 "b":2}',
];

test('what JSON.parse takes is read alike, what it refuses is refused', () => {
  for (const text of samples) assert.deepEqual(plain(parse(text)), JSON.parse(text), text);
  for (const text of broken) {
    assert.equal(parsed(text), undefined, text);
    assert.throws(
      () => parse(text),
      (error) => error instanceof WeightsError && /^here: .*at character \d+$/.test(error.message),
      text,
    );
  }
});

test('changed texts are read as JSON.parse reads them, or refused for what this parser forbids', () => {
  const rng = createRng(3);
  const letters = '{}[]",:\\0123456789.-+eEtrufalsn \n\u0000é';
  let both = 0;
  for (let round = 0; round < 30_000; round++) {
    let text = samples[rng.integer(0, samples.length)];
    for (let k = rng.integer(1, 4); k > 0; k--) {
      const [at, cut] = [rng.integer(0, text.length + 1), rng.integer(0, 3)];
      text = text.slice(0, at) + letters[rng.integer(0, letters.length)] + text.slice(at + cut);
    }
    const want = parsed(text);
    try {
      const got = plain(parse(text));
      assert.ok(want, `only this parser takes ${JSON.stringify(text)}`);
      assert.deepEqual(got, want.value);
      both++;
    } catch (error) {
      if (!(error instanceof WeightsError)) throw error;
      if (want) assert.match(error.message, /occurs twice|surrogate/, text);
    }
  }
  assert.ok(both > 1000, String(both));
});

test('keys twice, half pairs and names of the prototype', () => {
  assert.throws(() => parse('{"a":1,"a":1}'), /the key a occurs twice/);
  assert.throws(() => parse('{"a":1,"\\u0061":1}'), /occurs twice/);
  assert.throws(() => parse('"\\ud83d"'), /half of a surrogate pair/);
  assert.throws(() => parse('{"\\udc00":1}'), /half of a surrogate pair/);
  const value = parse('{"__proto__":{"x":1},"constructor":2}') as ReadonlyMap<string, JsonValue>;
  assert.deepEqual([...value.keys()], ['__proto__', 'constructor']);
  assert.equal(({} as { x?: unknown }).x, undefined);
});

test('limits: nesting, values, objects, long numbers; large input in linear time', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  parseStrictJson(nested(32), 'x');
  assert.throws(() => parseStrictJson(nested(33), 'x'), /nested too deeply/);
  assert.throws(() => parseStrictJson(nested(100_000), 'x'), /nested too deeply/);
  parseStrictJson('[1,2]', 'x', { maxValues: 3 });
  assert.throws(() => parseStrictJson('[1,2,3]', 'x', { maxValues: 3 }), /too many JSON values/);
  parseStrictJson('[{},{}]', 'x', { maxObjects: 2 });
  assert.throws(() => parseStrictJson('[{},{},{}]', 'x', { maxObjects: 2 }), /too many JSON objects/);
  assert.throws(() => parseStrictJson('1'.repeat(600), 'x'), /expected a JSON value/);
  const started = performance.now();
  parseStrictJson(`[${'1,'.repeat(500_000)}1]`, 'x');
  parseStrictJson(`"${'a'.repeat(5_000_000)}"`, 'x');
  parseStrictJson(`${' '.repeat(5_000_000)}1`, 'x');
  assert.ok(performance.now() - started < 5000);
});
