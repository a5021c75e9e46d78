import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { expectFilePlace, expectNothingAt } from '../../src/node/atomic.js';
import { directoryExists, fileExists, fileSource, readJson, readText } from '../../src/node/files.js';
import { expectFile, lookAt, makeDirectories, makeDirectory, namesIn } from '../../src/node/place.js';
import { openMetrics } from '../../src/node/training/metrics-log.js';
import { newestRun, removeLeftovers } from '../../src/node/training/save.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { longName, makeLinkLoop, makePipe, makeUnreadableFolder } from '../helpers/places.js';

const scratch = scratchDir();
const file = join(scratch, 'file');
writeFileSync(file, 'text');
const pipe = makePipe(join(scratch, 'pipe'));
const loop = makeLinkLoop(join(scratch, 'loop'));

/** What cannot be asked, and the reason that is given. */
const unknown: readonly (readonly [string, string])[] = [
  [join(file, 'below', 'it'), `${file} is no directory`],
  [`${file}/`, `${file} is no directory`],
  [loop, 'its links lead in a circle'],
  [join(scratch, longName), 'its name is too long for the file system'],
  [join(scratch, 'a\0b'), 'its name has a zero byte in it'],
];

const refused = (pattern: string) => (error: unknown) => {
  assert.ok(error instanceof InputError, String(error));
  assert.ok(error.message.includes(pattern), `${error.message}\nwithout ${pattern}`);
  return true;
};

test('directories are made down from the first that is missing, once', () => {
  const top = join(scratch, 'made');
  assert.equal(makeDirectories(join(top, 'below', 'it')), top);
  assert.equal(makeDirectories(join(top, 'below', 'it')), undefined);
  assert.equal(makeDirectories(join(top, 'below', 'other')), join(top, 'below', 'other'));
  assert.equal(lookAt(join(top, 'below', 'it')).kind, 'directory');
});

// Linux's file system of processes answers that there is no such entry; Node's `recursive` asks it for ever.
for (const path of process.platform === 'linux' ? ['/proc/nothing', '/proc/nothing/below/it'] : []) {
  test(`${path}: no directory, and an end`, () => {
    assert.throws(() => makeDirectory(path), refused(`${path}: cannot be made: `));
  });
}

test('a path is a file, a directory, something else, nothing, or cannot be asked', () => {
  const kinds = [file, scratch, pipe, '/dev/null', join(scratch, 'none'), ...unknown.map(([path]) => path)].map(
    (path) => lookAt(path).kind,
  );
  assert.deepEqual(kinds, ['file', 'directory', 'other', 'other', 'none', ...unknown.map(() => 'unknown')]);
});

test('what cannot be asked is wrong input wherever it is asked, with the path and the reason', () => {
  const about = { title: 'test', unit: 'tokens' } as const;
  for (const [path, reason] of unknown) {
    for (const ask of [
      () => fileExists(path),
      () => directoryExists(path),
      () => readJson(path, 'config.json'),
      () => expectFile(path),
      () => expectFilePlace(path),
      () => expectFilePlace(join(path, 'page.html')),
      () => expectNothingAt(path),
      () => namesIn(path),
      () => newestRun(path),
      () => removeLeftovers(path),
      () => fileSource(path),
    ]) {
      assert.throws(ask, refused(path), String(ask));
    }
    assert.throws(() => expectFile(path), refused(reason));
  }
  for (const path of unknown.slice(0, 4).map(([path]) => join(path, 'out'))) {
    assert.throws(() => makeDirectory(path), refused(`${path}: cannot be made: `));
    assert.throws(() => openMetrics(path, 0, about), refused(`${path}: cannot be made: `));
  }
});

test('a file where a run’s checkpoints should be is wrong input', () => {
  assert.throws(() => newestRun(file), refused(`${file}: expected a directory, got a file`));
  assert.deepEqual(newestRun(join(scratch, 'none')), { path: undefined, damaged: [] });
});

test('what is no file is called what it is', () => {
  assert.throws(() => expectFile(pipe), refused('pipe: expected a file, got a pipe'));
  assert.throws(() => expectFile('/dev/null', 'it', 'a text'), refused('it: expected a text, got a device'));
  assert.throws(() => expectFilePlace('/dev/null'), refused('is a device; name a file to be written'));
  assert.throws(() => expectNothingAt(pipe), refused('is a pipe; name a directory that does not exist yet'));
  assert.throws(() => fileSource(pipe), refused('pipe: expected a file'));
});

test('a name that is no UTF-8 is given as the reason', () => {
  assert.throws(() => expectFile(makeUnreadableFolder(scratch)), refused('its name is not UTF-8'));
  assert.throws(
    () => expectFile(join(scratch, 'none')),
    (error: Error) => !error.message.includes('UTF-8'),
  );
});

test('a byte order mark is no part of a text or of JSON', () => {
  const dir = join(scratch, 'marks');
  mkdirSync(dir);
  writeFileSync(join(dir, 'a.json'), '\ufeff{"a":"\ufeff"}');
  assert.deepEqual(readJson(dir, 'a.json'), { a: '\ufeff' });
  assert.equal(readText(join(dir, 'a.json'))[0], '{');
});
