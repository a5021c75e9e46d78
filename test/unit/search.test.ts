import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NodeClipModel } from '../../src/node/load-clip.js';
import { takeLock } from '../../src/node/lock.js';
import { findPictures } from '../../src/node/search/find-pictures.js';
import type { UpdatableStore } from '../../src/node/search/layered-store.js';
import { updateStore } from '../../src/node/search/update-index.js';
import { contactSheetHtml } from '../../src/output/contact-sheet.js';
import { matcherOf, parseConditions } from '../../src/search/conditions.js';
import { fuseRankings } from '../../src/search/fuse.js';
import { quantizeVector, scoreCodes } from '../../src/search/lists.js';
import { combineQuery } from '../../src/search/query.js';
import { createTop } from '../../src/search/top.js';
import { assertAllclose } from '../helpers/allclose.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { makeLinkLoop, makePipe, makeUnreadableFolder } from '../helpers/places.js';

const info = { path: 'holiday/Sea and sand.PNG', size: 12_000, modified: 0, sha256: 'ab', width: 640, height: 480 };
const holds = (text: string, change = {}) => matcherOf(parseConditions(text))({ ...info, ...change });

test('conditions: numbers by order, dates, text by pattern; all must hold', () => {
  assert.equal(holds('size>10000'), true);
  assert.equal(holds('size > 12000'), false);
  assert.equal(holds('size>=12000 and width!=641 AND height<481'), true);
  assert.equal(holds('size>=12000 and width=641'), false);
  assert.equal(holds('path~holiday/*'), true);
  assert.equal(holds('path ~ *.p?g'), true);
  assert.equal(holds('path~*.jpg'), false);
  assert.equal(holds('path="holiday/Sea and sand.PNG" and size<=12000'), true);
  assert.equal(holds('path~*.xPNG'), false, 'a point is a point');
  assert.equal(holds('modified>2024-05-31', { modified: Date.UTC(2024, 5, 1) }), true);
  assert.equal(holds('modified>2024-05-31', { modified: Date.UTC(2024, 4, 30) }), false);
});

test('conditions: what is wrong is named', () => {
  const cases = [
    ['colour=red', /expected one of path, sha256, size, modified, width, height, got colour/],
    ['size', /expected a comparison/],
    ['', /expected a comparison/],
    ['size>', /a value after >/],
    ['size>big', /a number for size/],
    ['size~1*', /an order or equality for size/],
    ['path>a', /=, != or ~ for path/],
    ['modified<yesterday', /a date such as/],
    ['size>1 and ', /expected a comparison/],
  ] as const;
  for (const [text, message] of cases) {
    assert.throws(() => parseConditions(text), { name: 'InputError', message }, text);
  }
});

test('the best of many scores are those that sorting gives, equal ones by row', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20 })), fc.integer({ min: 1, max: 12 }), (scores, count) => {
      const top = createTop(count);
      scores.forEach((score, row) => {
        top.offer(score, row);
      });
      const sorted = scores.map((score, row) => ({ score, row })).sort((a, b) => b.score - a.score || a.row - b.row);
      assert.deepEqual(top.sorted(), sorted.slice(0, count));
    }),
  );
});

test('rank fusion: the sum of weight / (k + rank) over the lists', () => {
  const fused = fuseRankings([
    ['a', 'b', 'c'],
    ['c', 'a', 'd'],
  ]);
  assert.deepEqual(
    fused.map(({ id }) => id),
    ['a', 'c', 'b', 'd'],
  );
  assertAllclose(
    fused.map(({ score }) => score),
    [1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62, 1 / 63],
  );
  const weighted = fuseRankings([['a', 'b'], ['b']], { k: 1, weights: [1, 0.1] });
  assertAllclose(
    weighted.map(({ score }) => score),
    [1 / 2, 1 / 3 + 0.1 / 2],
  );
  assert.deepEqual(fuseRankings([]), []);
  assert.throws(() => fuseRankings([['a', 'a']]), { name: 'InputError', message: /twice/ });
  assert.throws(() => fuseRankings([['a']], { weights: [1, 2] }), { name: 'InputError' });
});

test('a query is the unit vector of its parts; something must be looked for', () => {
  const [x, y] = [Float32Array.of(1, 0), Float32Array.of(0, 1)];
  assertAllclose(
    combineQuery([
      { vector: x, sign: 1 },
      { vector: y, sign: -1 },
    ]),
    [Math.SQRT1_2, -Math.SQRT1_2],
  );
  assert.throws(() => combineQuery([{ vector: x, sign: -1 }]), { name: 'InputError', message: /words or an image/ });
  const nothing = [
    { vector: x, sign: 1 },
    { vector: x, sign: -1 },
  ] as const;
  assert.throws(() => combineQuery(nothing), { name: 'InputError', message: /leaves nothing/ });
});

test('vectors as bytes keep products to within their rounding, for any dimension', () => {
  for (const dimension of [1, 3, 8, 30]) {
    const vectors = Float32Array.from({ length: 5 * dimension }, (_, i) => Math.sin(7 * i + dimension));
    const query = Float32Array.from({ length: dimension }, (_, i) => Math.cos(i));
    const codes = new Int8Array(vectors.length);
    const factors = Float32Array.from({ length: 5 }, (_, i) =>
      quantizeVector(
        vectors.subarray(i * dimension, (i + 1) * dimension),
        codes.subarray(i * dimension, (i + 1) * dimension),
      ),
    );
    const scores = new Float32Array(5);
    scoreCodes(query, codes, factors, scores);
    const exact = Float32Array.from({ length: 5 }, (_, i) =>
      query.reduce((sum, q, d) => sum + q * vectors[i * dimension + d], 0),
    );
    assertAllclose(scores, exact, { atol: (dimension * 0.5) / 127, rtol: 0 });
  }
});

test('a lock is held by a running process or another machine, and taken over from a process that is gone', () => {
  const path = join(scratchDir(), 'lock');
  const busy = (owner: string) => `${owner} has it`;
  const release = takeLock(path, busy);
  assert.throws(() => takeLock(path, busy), { name: 'LockedError', message: `process ${process.pid} has it` });
  release();
  assert.ok(!existsSync(path));
  writeFileSync(path, `999999999 ${hostname()}`);
  takeLock(path, busy)();
  // The number is another process's by now, as it is where a container is started again.
  writeFileSync(path, `${process.ppid} ${hostname()} 1`);
  if (process.platform === 'linux') takeLock(path, busy)();
  writeFileSync(path, `${process.pid} another-machine 1`);
  assert.throws(
    () => takeLock(path, busy),
    (error: Error) => {
      assert.equal(error.name, 'LockedError');
      assert.ok(error.message.startsWith(`process ${process.pid} of another-machine has it. `), error.message);
      assert.ok(error.message.endsWith(`remove ${path}`), error.message);
      return true;
    },
  );
  assert.match(readFileSync(path, 'utf8'), /another-machine/, 'and it is still there');
  writeFileSync(path, '');
  assert.throws(() => takeLock(path, busy), { message: 'another process has it' }, 'being taken at this moment');
  utimesSync(path, 1, 1);
  takeLock(path, busy)();
  writeFileSync(path, '');
  utimesSync(path, Date.now(), Date.now());
  takeLock(path, busy);
  assert.match(readFileSync(path, 'utf8'), new RegExp(`^${process.pid} `));
});

test('a contact sheet runs nothing: names are text', () => {
  const picture = { name: '<img src=x onerror=alert(1)>"', thumbnail: 'data:image/png;base64,AA', notes: ['a & b'] };
  const html = contactSheetHtml('</title><script>', [{ heading: '<b>', pictures: [picture] }]);
  assert.ok(!/<script|<img src=x|<b>/.test(html));
  assert.match(html, /&lt;img src=x onerror=alert\(1\)&gt;&quot;/);
  assert.match(html, /default-src 'none'/);
  assert.match(contactSheetHtml('empty', []), /No pictures/);
});

test('an index fails with what cannot be read and goes on; what lies in a closed folder stays in it', async () => {
  const root = join(scratchDir(), 'pictures');
  mkdirSync(join(root, 'album'), { recursive: true });
  makePipe(join(root, 'pipe.png'));
  makeLinkLoop(join(root, 'loop.png'));
  symlinkSync('album', join(root, 'link.png'));
  makeUnreadableFolder(root);
  const found = await findPictures(root);
  assert.deepEqual(
    found.map(({ path }) => path),
    ['bad\ufffd', 'loop.png', 'pipe.png'],
  );
  const known = ['bad\ufffd/a.png', 'gone/a.png', 'pipe.png'].map((path) => ({ ...info, path }));
  const removed: string[] = [];
  const store: Partial<UpdatableStore> = {
    list: async () => known,
    remove: async (paths) => removed.push(...paths),
    optimize: async () => undefined,
  };
  const target = { store: store as UpdatableStore, model: {} as NodeClipModel, root, whole: true };
  const { failed } = await updateStore(target, found, { workers: 1 });
  assert.deepEqual(
    failed.map(({ reason }) => reason.replaceAll(`${root}/`, '')),
    [
      'bad\ufffd: cannot be read: there is no such file; its name is not UTF-8, so it cannot be opened: rename it',
      'loop.png: cannot be read: its links lead in a circle',
      'pipe.png: expected an image file, got a pipe',
    ],
  );
  assert.deepEqual(removed, ['gone/a.png', 'pipe.png']);
  await assert.rejects(
    findPictures(join(root, 'pipe.png')),
    /pipe.png: expected a folder of pictures: .* no directory/,
  );
});
