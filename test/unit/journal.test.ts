import assert from 'node:assert/strict';
import fs, { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WriteCalls } from '../../src/node/atomic.js';
import { openJournal, type StoredPage } from '../../src/node/bulk/journal.js';
import { scratchDir } from '../helpers/checkpoints.js';

const scratch = scratchDir();
const wanted = { key: () => true, output: () => true };
const facts = { pages: 3, size: 1, modified: 1, sha256: 'a' };
const page = (text: string): StoredPage => ({ width: 1, height: 1, dpi: 72, text, lines: [], warnings: [] });
const later = () => new Promise((resolve) => setImmediate(resolve));

/** A journal of one document whose disk keeps nothing until it is told to, or fails. */
async function heldJournal(name: string) {
  const dir = join(scratch, name);
  const held: ((cause: Error | null) => void)[] = [];
  let hold = false;
  const fsync = (handle: number, done: (cause: Error | null) => void) =>
    hold ? void held.push(done) : fs.fsync(handle, done);
  const journal = openJournal(dir, 0, wanted, { ...fs, fsync: fsync as WriteCalls['fsync'] });
  journal.open('doc', facts);
  await journal.sync();
  hold = true;
  const isKnown = (index: number) => journal.documents.get('doc')?.pages[index] !== undefined;
  const texts = () =>
    readFileSync(join(dir, 'journal.0.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .flatMap((line) => (JSON.parse(line) as { reading?: { text: string } }).reading?.text ?? []);
  /** Lets the disk finish, or fail, one thing, and what waited for it go on. */
  const disk = async (cause: Error | null = null) => {
    held.shift()?.(cause);
    await later();
  };
  return { journal, held, isKnown, texts, disk };
}

test('a page counts when it is on the disk, and who asks meanwhile waits for his own', async () => {
  const { journal, held, isKnown, texts, disk } = await heldJournal('order');
  const ended: string[] = [];
  journal.page('doc', 0, page('first'));
  const first = journal.sync().then(() => ended.push('first'));
  await later();
  journal.page('doc', 1, page('second'));
  const second = journal.sync().then(() => ended.push('second'));
  const third = journal.sync().then(() => ended.push('third'));
  await later();
  assert.deepEqual([held.length, ended, isKnown(0), isKnown(1)], [1, [], false, false]);
  await disk();
  assert.deepEqual([held.length, ended, isKnown(0), isKnown(1)], [1, ['first'], true, false]);
  await disk();
  await Promise.all([first, second, third]);
  assert.deepEqual([held.length, ended, isKnown(1)], [0, ['first', 'second', 'third'], true]);
  await journal.dispose();
  assert.deepEqual(texts(), ['first', 'second']);
});

test('what could not be kept is written by the next who asks, once and in its order', async () => {
  const { journal, isKnown, texts, disk } = await heldJournal('again');
  journal.page('doc', 0, page('first'));
  const failed = assert.rejects(journal.sync(), { name: 'InputError', message: /could not be written: full/ });
  await later();
  journal.page('doc', 1, page('second'));
  const next = journal.sync();
  await disk(new Error('full'));
  await failed;
  assert.deepEqual([isKnown(0), texts()], [false, ['first', 'second']], 'both lie there and do not count yet');
  await disk();
  await next;
  assert.deepEqual([isKnown(0), isKnown(1), texts()], [true, true, ['first', 'second']]);
  await journal.dispose();
});

test('a journal is closed behind what is being written, and takes nothing more', async () => {
  const { journal, texts, disk } = await heldJournal('closing');
  journal.page('doc', 0, page('first'));
  const written = journal.sync();
  await later();
  let closed = false;
  const closing = journal.dispose().then(() => {
    closed = true;
  });
  await later();
  assert.equal(closed, false);
  await disk();
  await Promise.all([written, closing]);
  journal.page('doc', 1, page('late'));
  await assert.rejects(journal.sync(), { name: 'InputError', message: /was closed/ });
  assert.deepEqual(texts(), ['first']);
});

test('what is forgotten takes no memory, and the next run knows it', async () => {
  const dir = join(scratch, 'forgotten');
  const journal = openJournal(dir, 0, { ...wanted, output: () => true });
  journal.open('doc', { ...facts, pages: 1 });
  journal.open('other', facts);
  journal.page('doc', 0, page('first'));
  await journal.sync();
  journal.finish('doc', 'doc', ['doc.txt']);
  await journal.sync();
  assert.ok(journal.isOwn('doc.txt'));
  journal.forget('doc');
  assert.deepEqual([[...journal.documents.keys()], journal.isOwn('doc.txt')], [['other'], false]);
  await journal.dispose();
  const next = openJournal(dir, 0, { ...wanted, output: () => true });
  assert.deepEqual([next.documents.get('doc')?.written?.outputs, next.isOwn('doc.txt')], [['doc.txt'], true]);
  await next.dispose();
});
