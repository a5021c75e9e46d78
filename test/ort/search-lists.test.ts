import assert from 'node:assert/strict';
import fs, { existsSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createRng, type Rng } from '../../src/core/rng.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import type { AppendCalls } from '../../src/node/search/flat-files.js';
import { openFlatStore } from '../../src/node/search/flat-store.js';
import { parseConditions } from '../../src/search/conditions.js';
import { groupDuplicates } from '../../src/search/duplicates.js';
import { createProductKernel } from '../../src/search/kernel.js';
import { dot } from '../../src/search/lists.js';
import type { Row } from '../../src/search/store.js';
import { assertAllclose } from '../helpers/allclose.js';
import { temporaryFolder } from '../helpers/clip-checkpoints.js';

const dimension = 24;
const kernel = createProductKernel(createRuntime({ threads: 2 }), dimension);
after(() => kernel.dispose());

function unit(values: Float32Array): Float32Array {
  const length = Math.hypot(...values);
  return values.map((x) => x / length);
}

/** Unit vectors round 40 centres. */
function drawRows(count: number, seed: number, first = 0): Row[] {
  const shared = createRng(1);
  const vector = (rng: Rng) => Float32Array.from({ length: dimension }, () => rng.normal());
  const centres = Array.from({ length: 40 }, () => vector(shared));
  const rng = createRng(seed);
  return Array.from({ length: count }, (_, i) => {
    const centre = centres[rng.integer(0, 40)];
    const path = `${first + i}.png`;
    const info = { path, size: first + i, modified: 0, sha256: path, width: 1, height: 1 };
    return { info, vector: unit(vector(rng).map((x, d) => 0.6 * x + centre[d])) };
  });
}

const plain = { top: 10, where: [], exact: false };
const pathsOf = (hits: readonly { info: { path: string } }[]) => hits.map(({ info }) => info.path);

/** By comparing with every row. */
function bestOf(rows: readonly Row[], query: Float32Array, top: number): string[] {
  const scored = rows.map(({ info, vector }) => ({ path: info.path, score: dot(vector, query) }));
  return scored
    .sort((a, b) => b.score - a.score)
    .slice(0, top)
    .map(({ path }) => path);
}

test('lists find nearly all of the nearest, also among rows added later; exact finds all', async () => {
  const dir = temporaryFolder();
  const options = { dimension, kernel, write: true, listsFrom: 500, probes: 12 };
  const rows = drawRows(3000, 2);
  let store = openFlatStore(dir, options);
  await store.add(rows);
  assert.ok(!readdirSync(dir).some((name) => name.startsWith('lists')));
  await store.optimize();
  assert.ok(existsSync(join(dir, 'lists.0.3000.bin')));
  const later = drawRows(200, 3, 3000);
  await store.add(later);
  await store.optimize();
  assert.ok(existsSync(join(dir, 'lists.0.3000.bin')), 'few new rows are no reason for new lists');
  await store.dispose();
  store = openFlatStore(dir, { ...options, write: false });
  const all = [...rows, ...later];
  let found = 0;
  const queries = drawRows(30, 4).map(({ vector }) => vector);
  for (const query of queries) {
    const truth = bestOf(all, query, 10);
    assert.deepEqual(pathsOf(await store.search(query, { ...plain, exact: true })), truth);
    const hits = await store.search(query, plain);
    assertAllclose(
      hits.map(({ score }) => score),
      hits.map(({ info }) => dot(query, all[info.size].vector)),
      { atol: 1e-6, rtol: 0 },
    );
    found += pathsOf(hits).filter((path) => truth.includes(path)).length;
  }
  assert.ok(found >= 0.95 * 300, `recall ${found / 300}`);
  assert.equal((await store.search(later[7].vector, { ...plain, top: 1 }))[0].info.path, '3007.png');
  await store.dispose();
});

test('conditions that few rows meet are met by as many hits as there are', async () => {
  const dir = temporaryFolder();
  const store = openFlatStore(dir, { dimension, kernel, write: true, listsFrom: 100, probes: 1 });
  const rows = drawRows(1000, 5);
  await store.add(rows);
  await store.optimize();
  const query = rows[0].vector;
  const hits = await store.search(query, { top: 5, where: parseConditions('size>=900 and size<903'), exact: false });
  assert.deepEqual(pathsOf(hits), bestOf(rows.slice(900, 903), query, 5));
  await store.dispose();
});

test('replaced and removed rows are gone from lists, and from the files once they are many', async () => {
  const dir = temporaryFolder();
  const options = { dimension, kernel, write: true, listsFrom: 100, probes: 1000 };
  let store = openFlatStore(dir, options);
  const rows = drawRows(3000, 6);
  await store.add(rows);
  await store.optimize();
  const [query] = drawRows(1, 9);
  const replaced = { ...rows[5], vector: query.vector };
  await store.add([replaced]);
  assert.equal(await store.remove(rows.slice(100, 1200).map(({ info }) => info.path)), 1100);
  const left = [...rows.slice(0, 5), replaced, ...rows.slice(6, 100), ...rows.slice(1200)];
  const check = async () => {
    assert.deepEqual(pathsOf(await store.search(query.vector, plain)), bestOf(left, query.vector, 10));
    assert.equal((await store.list()).length, left.length);
    assert.deepEqual(
      await store.vectors(['2999.png', '5.png']),
      Float32Array.of(...rows[2999].vector, ...query.vector),
    );
  };
  await check();
  await store.optimize();
  const files = ['flat.json', 'lists.1.1900.bin', 'pictures.1.jsonl', 'vectors.1.f32'];
  await check();
  await store.dispose();
  store = openFlatStore(dir, options);
  assert.deepEqual(readdirSync(dir).sort(), files);
  await check();
  await assert.rejects(store.vectors(['100.png']), { name: 'InputError', message: /has no picture 100\.png/ });
  await assert.rejects(store.add([{ ...rows[0], vector: rows[0].vector.map((x) => 2 * x) }]), {
    message: /unit vector/,
  });
  await store.dispose();
  const reading = openFlatStore(dir, { ...options, write: false });
  await assert.rejects(reading.add(rows), { name: 'InputError', message: /opened for reading/ });
  await reading.dispose();
  truncateSync(join(dir, files[1]), 300);
  assert.throws(() => openFlatStore(dir, options), {
    name: 'InputError',
    message: /lists\.1\.1900\.bin: expected \d+ bytes/,
  });
  writeFileSync(join(dir, files[1]), 'x'.repeat(300));
  assert.throws(() => openFlatStore(dir, options), { name: 'InputError', message: /is not a file of lists/ });
});

test('whichever write or sync fails, the store has the rows it had or all of them, and says so', async () => {
  const rows = drawRows(12, 8);
  for (const fault of ['ENOSPC', 'short'] as const) {
    for (let failAt = 1; ; failAt++) {
      const dir = temporaryFolder();
      const options = { dimension, kernel, write: true };
      const first = openFlatStore(dir, options);
      await first.add(rows.slice(0, 4));
      await first.dispose();
      let count = 0;
      const isDue = () => ++count === failAt;
      const fail = () => {
        throw Object.assign(new Error('no space left'), { code: 'ENOSPC' });
      };
      const writeSync = (handle: number, bytes: Uint8Array, offset: number, length: number, position: number) => {
        if (!isDue()) return fs.writeSync(handle, bytes, offset, length, position);
        // A short write is no failure: the rest is written by the next call.
        if (fault === 'ENOSPC') return fail();
        return fs.writeSync(handle, bytes, offset, Math.ceil(length / 2), position);
      };
      const fsync = async (handle: number) => (isDue() && fault === 'ENOSPC' ? fail() : fs.fsyncSync(handle));
      const store = openFlatStore(dir, { ...options, calls: { writeSync, fsync } as AppendCalls });
      const failed = await store.add(rows.slice(4)).catch((error: Error) => error);
      const calls = count;
      count = Number.POSITIVE_INFINITY;
      if (failed) {
        assert.equal(failed.name, 'InputError');
        assert.match(failed.message, /no space left; what was there before is kept/);
      }
      const expected = failed ? 4 : 12;
      assert.equal((await store.list()).length, expected);
      // The same store goes on, and so does one that is opened again.
      const [hit] = await store.search(rows[2].vector, plain);
      assert.equal(hit.info.path, '2.png');
      await store.add([rows[0], rows[11]]);
      await store.dispose();
      const again = openFlatStore(dir, options);
      assert.equal((await again.list()).length, failed ? 5 : 12);
      const [last] = await again.search(rows[11].vector, plain);
      assert.equal(last.info.path, '11.png');
      await again.dispose();
      if (calls < failAt) break;
    }
  }
});

test('changes of a store have their turns, searches see what is there, and a store that was closed is not written', async () => {
  const dir = temporaryFolder();
  const options = { dimension, kernel, write: true };
  const rows = drawRows(30, 9);
  const store = openFlatStore(dir, options);
  const adding = Array.from({ length: 10 }, (_, i) => store.add(rows.slice(3 * i, 3 * i + 3)));
  const removing = store.remove(['4.png']);
  const seen = await store.search(rows[29].vector, plain);
  assert.ok(seen.every(({ info }) => info !== undefined));
  const closing = store.dispose();
  await Promise.all([...adding, removing, closing]);
  await assert.rejects(store.add(rows.slice(0, 1)), { name: 'InputError', message: /was closed/ });
  await store.dispose();
  const again = openFlatStore(dir, { ...options, write: false });
  const kept = rows.filter(({ info }) => info.path !== '4.png');
  assert.deepEqual((await again.list()).map(({ path }) => path).sort(), kept.map(({ info }) => info.path).sort());
  for (const { info, vector } of kept) assert.deepEqual(await again.vectors([info.path]), vector);
  await again.dispose();
});

test('alike rows are grouped, across blocks and through others', async () => {
  const rows = drawRows(2100, 7).map(({ vector }) => vector);
  const near = (vector: Float32Array, at: number) => unit(vector.map((x, d) => (d === at ? x + 0.1 : x)));
  rows[2050] = rows[3];
  rows[1500] = near(rows[7], 0);
  rows[1025] = near(rows[1500], 1);
  const read = async (start: number, end: number) => {
    const out = new Float32Array((end - start) * dimension);
    rows.slice(start, end).forEach((vector, i) => {
      out.set(vector, i * dimension);
    });
    return out;
  };
  const link = Math.min(dot(rows[7], rows[1500]), dot(rows[1500], rows[1025]));
  const expected: number[][] = [];
  const groups = await groupDuplicates(kernel, { count: rows.length, read }, link - 1e-5);
  for (const { rows: group } of groups) expected.push([...group]);
  assert.ok(expected.some((group) => group.join() === '3,2050'));
  assert.ok(expected.some((group) => group.includes(7) && group.includes(1500) && group.includes(1025)));
  const exact = await groupDuplicates(kernel, { count: rows.length, read }, 1);
  assert.deepEqual(
    exact.map(({ rows: group }) => group),
    [[3, 2050]],
  );
  assert.ok(Math.abs(exact[0].similarity - 1) < 1e-5);
  assert.deepEqual(await groupDuplicates(kernel, { count: 0, read }, 0.9), []);
});
