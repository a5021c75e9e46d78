import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkRecord } from '../../src/data/check.js';
import { parseConversations } from '../../src/data/conversations.js';
import { checkData } from '../../src/node/data/check-data.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { longName } from '../helpers/places.js';

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

test('a picture that cannot be there is a problem of its own line; a byte order mark is none', async () => {
  const dir = scratchDir();
  const file = join(dir, 'data.json');
  const sample = (image: string) => ({ image, conversations: [human('<image>'), gpt('x')] });
  writeFileSync(
    file,
    `\ufeff${JSON.stringify([sample('a.png'), sample('data.json/b.png'), sample(longName)], null, 1)}`,
  );
  const { samples, problems } = await checkData({ file }, { decode: false });
  assert.equal(samples, 3);
  assert.deepEqual(
    problems.map(({ problem }) => problem.replaceAll(dir, 'DIR').replaceAll(longName, 'LONG')),
    [
      'missing image: DIR/a.png',
      'unreadable image: DIR/data.json/b.png: cannot be read: DIR/data.json is no directory',
      'unreadable image: DIR/LONG: cannot be read: its name is too long for the file system',
    ],
  );
});
