import assert from 'node:assert/strict';
import { createRng } from '../../src/core/rng.js';
import { parseConditions } from '../../src/search/conditions.js';
import { dot } from '../../src/search/lists.js';
import type { Row, VectorStore } from '../../src/search/store.js';
import { assertAllclose } from './allclose.js';

export const contractDimension = 16;

/** Rows with random unit vectors; some paths need care where they are quoted. */
export function contractRows(count: number, seed = 11): Row[] {
  const rng = createRng(seed);
  return Array.from({ length: count }, (_, i) => {
    const values = Float32Array.from({ length: contractDimension }, () => rng.normal());
    const length = Math.hypot(...values);
    const path = `${i % 2 === 0 ? 'even' : "it's odd"}/${i}.png`;
    const info = { path, size: 1000 * i, modified: 1.7e12 + i, sha256: `hash${i % 3}`, width: 10 + i, height: 20 };
    return { info, vector: values.map((x) => x / length) };
  });
}

/** What every store does, against comparing with every row. `open` opens the same store again. */
export async function checkStore(open: (write: boolean) => Promise<VectorStore>): Promise<void> {
  const rows = contractRows(40);
  const [query] = contractRows(1, 12).map(({ vector }) => vector);
  const best = (among: readonly Row[], top: number) =>
    among
      .map(({ info, vector }) => ({ info, score: dot(query, vector) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, top);
  const checkSearch = async (store: VectorStore, among: readonly Row[], where = '', top = 7, exact = false) => {
    const hits = await store.search(query, { top, exact, where: where === '' ? [] : parseConditions(where) });
    const expected = best(among, top);
    assert.deepEqual(
      hits.map(({ info }) => info),
      expected.map(({ info }) => info),
      where,
    );
    assertAllclose(
      hits.map(({ score }) => score),
      expected.map(({ score }) => score),
      { atol: 1e-5, rtol: 0 },
    );
  };
  const infos = (list: readonly Row[]) => list.map(({ info }) => info).sort((a, b) => (a.path < b.path ? -1 : 1));
  const listed = async (store: VectorStore) => [...(await store.list())].sort((a, b) => (a.path < b.path ? -1 : 1));

  let store = await open(true);
  assert.deepEqual(await store.list(), []);
  assert.deepEqual(await store.search(query, { top: 3, where: [], exact: false }), []);
  assert.equal(await store.remove(['even/0.png']), 0);
  await store.add(rows.slice(0, 25));
  await store.add(rows.slice(25));
  await store.optimize();
  assert.deepEqual(await listed(store), infos(rows));
  await checkSearch(store, rows);
  await checkSearch(store, rows, '', 100, true);
  const cases: [string, (row: Row) => boolean][] = [
    ['size>30000', ({ info }) => info.size > 30_000],
    ['size>=30000 and size<=32000', ({ info }) => info.size >= 30_000 && info.size <= 32_000],
    ['sha256=hash1', ({ info }) => info.sha256 === 'hash1'],
    ['sha256!=hash1 and width<30', ({ info }) => info.sha256 !== 'hash1' && info.width < 30],
    ['width=12', ({ info }) => info.width === 12],
    ['height!=20', () => false],
    ["path=it's odd/7.png", ({ info }) => info.path === "it's odd/7.png"],
    ['path~even/3* and size>31000', ({ info }) => info.path.startsWith('even/3') && info.size > 31_000],
  ];
  // Of all the farthest: a pattern that is only met late.
  const last = best(rows, rows.length)[rows.length - 1].info.path;
  cases.push([`path~*${last.slice(-7)}`, ({ info }) => info.path === last]);
  for (const [where, holds] of cases) await checkSearch(store, rows.filter(holds), where);

  const replaced = { info: { ...rows[3].info, size: 5 }, vector: query };
  await store.add([replaced]);
  assert.equal(await store.remove([rows[8].info.path, rows[9].info.path, 'nowhere', rows[9].info.path]), 2);
  const left = rows.map((row, i) => (i === 3 ? replaced : row)).filter((_, i) => i !== 8 && i !== 9);
  await store.dispose();
  store = await open(false);
  assert.deepEqual(await listed(store), infos(left));
  await checkSearch(store, left);
  const paths = [rows[39].info.path, rows[3].info.path, rows[39].info.path];
  const vectors = Float32Array.of(...rows[39].vector, ...query, ...rows[39].vector);
  assertAllclose(await store.vectors(paths), vectors, { atol: 1e-6, rtol: 0 });
  await assert.rejects(store.vectors(['nowhere']), { name: 'InputError', message: /has no picture nowhere/ });
  await assert.rejects(store.add(rows), { name: 'InputError', message: /opened for reading/ });
  await assert.rejects(store.remove(paths), { name: 'InputError', message: /opened for reading/ });
  await store.dispose();
}
