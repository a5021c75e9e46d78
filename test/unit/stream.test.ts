import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InputError } from '../../src/core/errors.js';
import { createTextStream, type TextStreamOptions } from '../../src/text/stream.js';
import { optTokenizer } from '../helpers/tokenizers.js';

const tokenizer = optTokenizer();
const ids = fc.array(fc.integer({ min: 0, max: 625 }), { maxLength: 40 });
const bytes = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

/** Every piece that comes out, the last one from `end`. */
function pieces(given: readonly number[], options?: TextStreamOptions): string[] {
  const stream = createTextStream(tokenizer, options);
  return [...given.map((id) => stream.push(id)), stream.end()];
}

function streamed(
  given: readonly number[],
  options?: TextStreamOptions,
): { text: string; stopped: string | undefined } {
  const stream = createTextStream(tokenizer, options);
  const text = given.map((id) => stream.push(id)).join('') + stream.end();
  return { text, stopped: stream.stopped() };
}

test('any ids: the pieces are the decoded text', () => {
  fc.assert(
    fc.property(ids, fc.boolean(), (given, skipSpecialTokens) => {
      assert.equal(pieces(given, { skipSpecialTokens }).join(''), tokenizer.decode(given, { skipSpecialTokens }));
    }),
    { numRuns: 2000 },
  );
});

test('any text: no piece has a broken character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 30 }), (text) => {
      const parts = pieces(bytes(text));
      assert.equal(parts.join(''), text);
      assert.ok(text.includes('\uFFFD') || parts.every((part) => !part.includes('\uFFFD')));
      assert.ok(parts.every((part) => !/\p{Surrogate}/u.test(part)));
    }),
    { numRuns: 500 },
  );
});

test('a character that four tokens spell comes with the fourth', () => {
  const emoji = [231, 567, 528];
  assert.deepEqual(bytes('😀'), [181, ...emoji]);
  assert.deepEqual(pieces([181, ...emoji]), ['', '', '', '😀', '']);
});

test('bytes that cannot become a character are replaced at once, unfinished ones at the end', () => {
  const [lead, ...rest] = bytes('😀');
  assert.deepEqual(pieces([lead, ...bytes('a')]), ['', '\uFFFDa', '']);
  assert.deepEqual(pieces([lead, rest[0]]), ['', '', '\uFFFD']);
  // A special token that is left out does not come between the bytes of a character.
  assert.deepEqual(pieces([lead, 2, ...rest]), ['', '', '', '', '😀', '']);
  assert.deepEqual(pieces([lead, 2], { skipSpecialTokens: false }), ['', '\uFFFD</s>', '']);
});

test('a byte-order mark is text', () => {
  assert.equal(pieces(bytes('\uFEFFa\uFEFF')).join(''), '\uFEFFa\uFEFF');
});

test('text before a stop string, never a part of it', () => {
  assert.deepEqual(streamed(bytes('one two three'), { stop: ['two'] }), { text: 'one ', stopped: 'two' });
  assert.deepEqual(streamed(bytes('one tw'), { stop: ['two'] }), { text: 'one tw', stopped: undefined });
  assert.deepEqual(streamed(bytes('two'), { stop: ['two'] }), { text: '', stopped: 'two' });
  assert.deepEqual(streamed([], { stop: ['two'] }), { text: '', stopped: undefined });
});

test('what may begin a stop string is held back, and released when it does not', () => {
  const stream = createTextStream(tokenizer, { stop: ['aab'] });
  const [a] = bytes('a');
  const [b] = bytes('b');
  const [c] = bytes('c');
  assert.deepEqual(
    [a, a, a, c, a, a, b, c].map((id) => stream.push(id)),
    ['', '', 'a', 'aac', '', '', '', ''],
  );
  assert.equal(stream.stopped(), 'aab');
  assert.equal(stream.end(), '');
});

test('the stop string that ends first wins, the longest of those', () => {
  assert.deepEqual(streamed(bytes('abcde'), { stop: ['bcd', 'c'] }), { text: 'ab', stopped: 'c' });
  assert.deepEqual(streamed(bytes('abcde'), { stop: ['c', 'bc'] }), { text: 'a', stopped: 'bc' });
  // Also where one token brings both: 'the' is one.
  assert.equal(bytes('the').length, 1);
  assert.deepEqual(streamed(bytes('the'), { stop: ['the', 'h'] }), { text: 't', stopped: 'h' });
});

test('any text and stop: the cut does not depend on how the text came in tokens', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é', '😀', 'the'), maxLength: 20 });
  const stops = fc.array(
    fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é', 't', 'h', 'e'), minLength: 1, maxLength: 4 }),
    {
      maxLength: 3,
    },
  );
  fc.assert(
    fc.property(text, stops, (given, stop) => {
      // By definition: the shortest beginning of the text that ends with a stop string, without the longest such stop.
      const ends = Array.from({ length: given.length + 1 }, (_, end) => given.slice(0, end));
      const first = ends.find((head) => stop.some((s) => head.endsWith(s)));
      const found = stop.filter((s) => first?.endsWith(s)).sort((x, y) => y.length - x.length)[0];
      const expected = first === undefined ? given : first.slice(0, first.length - found.length);
      assert.deepEqual(streamed(bytes(given), { stop }), { text: expected, stopped: found });
    }),
    { numRuns: 2000 },
  );
});

test('an empty stop string is refused', () => {
  assert.throws(() => createTextStream(tokenizer, { stop: ['a', ''] }), InputError);
});

test('a stream takes ids only', () => {
  const stream = createTextStream(tokenizer);
  assert.throws(() => stream.push(-1), InputError);
  assert.throws(() => stream.push(1.5), InputError);
});
