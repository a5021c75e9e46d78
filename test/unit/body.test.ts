import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { HttpError } from '../../src/server/answers.js';
import { createTurns, parseJsonBody } from '../../src/server/body.js';

const parse = (text: string) => parseJsonBody(Buffer.from(text));
const long = (letter: string) => letter.repeat(70_000);

test('a body with long texts is what JSON says it is', () => {
  for (const value of [
    long('a'),
    { url: long('b'), short: 'c', list: [long('d'), 1, null, { [long('e')]: long('e') }] },
    { escaped: `${long('f')}"\\\n${long('g')}`, other: long('h') },
    { text: `${long('i')}ä€😀`, next: `ä${long('j')}` },
    [long('k'), long('k'), 'k', ''],
  ]) {
    // Compared without a message: the texts are long.
    for (const indent of [0, 2]) assert.ok(isDeepStrictEqual(parse(JSON.stringify(value, null, indent)), value));
  }
  for (const broken of [`"${long('a')}`, `{"a":"${long('a')}"`, `{"a":"${long('a')}" 1}`, `${long('a')}`]) {
    assert.throws(
      () => parse(broken),
      (error) => error instanceof HttpError && error.status === 400 && error.message.length < 300,
    );
  }
});

test('large pieces of work have a turn each, small ones do not wait', async () => {
  const turn = createTurns();
  let immediates = 0;
  let counting = true;
  const count = () => {
    immediates++;
    if (counting) setImmediate(count);
  };
  setImmediate(count);
  const at = await Promise.all(
    [1 << 20, 1 << 20, 10, 1 << 20].map(async (bytes) => {
      await turn(bytes);
      return immediates;
    }),
  );
  counting = false;
  const [first, second, small, third] = at;
  assert.equal(small, 0);
  assert.ok(first < second && second < third, at.join());
});
