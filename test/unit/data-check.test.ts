import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkRecord } from '../../src/data/check.js';
import { parseConversations } from '../../src/data/conversations.js';

const human = (value: string) => ({ from: 'human', value });
const gpt = (value: string) => ({ from: 'gpt', value });
const recordOf = (sample: unknown) => parseConversations(JSON.stringify([sample]), 'f.json').records[0];

test('records: roles, places of images, nothing to learn', () => {
  const check = (sample: unknown) => checkRecord(recordOf(sample));
  assert.deepEqual(check({ image: 'a.png', conversations: [human('<image>'), gpt('x')] }), []);
  assert.deepEqual(check([human('hi'), gpt('x')]), []);
  assert.match(check({ conversations: [{ from: 'robot', value: '' }] })[0], /is from "robot", expected human or gpt/);
  assert.match(check({ conversations: [] })[0], /expected a list of messages/);
  assert.deepEqual(check({ image: 'a.png', conversations: [human('hi'), gpt('x')] }), ['no <image> for 1 image(s)']);
  assert.deepEqual(check({ image: 'a.png', conversations: [human('<image><image>'), gpt('x')] }), [
    '2 <image> for 1 image(s)',
  ]);
  assert.deepEqual(check({ conversations: [human('<image>'), gpt('x')] }), ['1 <image> and no image']);
  assert.match(check({ conversations: [human('hi')] })[0], /every label is masked/);
  assert.match(check({ conversations: [human('hi'), gpt('')] })[0], /every label is masked/);
});

test('items that are no conversations are problems with their lines', () => {
  const { records, problems } = parseConversations(
    '[\n1,\n{"conversations": 2},\n{"image": 3, "conversations": []}\n]',
    'f',
  );
  assert.equal(records.length, 0);
  assert.deepEqual(
    problems.map(({ line }) => line),
    [2, 3, 4],
  );
});
