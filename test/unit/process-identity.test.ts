import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import {
  isAlive,
  isOfThisMachine,
  ownerOfTemporary,
  ownIdentity,
  temporaryName,
} from '../../src/node/process-identity.js';

test('a temporary name says whose it is: machine, process and when it began', () => {
  const own = ownIdentity();
  const name = temporaryName('/data/some.file.7.json');
  assert.ok(name.startsWith('/data/some.file.7.json.'));
  assert.deepEqual(ownerOfTemporary(basename(name)), own);
  assert.equal(name, temporaryName('/data/some.file.7.json'), 'so a second attempt overwrites what the first one left');
  assert.equal(ownerOfTemporary('some.tmp'), undefined);
  assert.equal(isOfThisMachine({ pid: own.pid, host: 'elsewhere' }), false);
});

test('a temporary name of a long one fits, and is no other’s', () => {
  const [a, b] = ['a', 'b'].map((letter) => basename(temporaryName(`/data/${'é'.repeat(126)}.${letter}`)));
  for (const name of [a, b]) {
    assert.ok(Buffer.byteLength(name) <= 255, name);
    assert.match(name, /^é+~/);
    assert.deepEqual(ownerOfTemporary(name), ownIdentity());
  }
  assert.notEqual(a, b);
});

test('a process is told from a later or earlier one with the same number', () => {
  const own = ownIdentity();
  assert.ok(isAlive(own));
  assert.ok(!isAlive({ pid: 999_999_999, host: own.host }));
  assert.equal(isAlive({ ...own, start: '1-00000000' }), own.start === undefined);
});
