/** The store on a real LanceDB, installed in the folder named: node dist/test/lancedb/store.js FOLDER. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { lancePackage, openLanceStore } from '../../src/node/search/lance-store.js';
import { dot } from '../../src/search/lists.js';
import { checkStore, contractRows, contractDimension as dimension } from '../helpers/store-contract.js';

const require = createRequire(join(resolve(process.argv[2]), 'package.json'));
const load = async () =>
  require(lancePackage) as Awaited<ReturnType<NonNullable<Parameters<typeof openLanceStore>[2]>>>;
const dir = mkdtempSync(join(tmpdir(), 'varyclip-lance-'));
try {
  await checkStore((write) => openLanceStore(join(dir, 'small'), { dimension, write }, load));
  // With an index: almost all of the nearest are found, also after rows were added and removed.
  const options = { dimension, write: true, listsFrom: 1000, probes: 20 };
  const store = await openLanceStore(join(dir, 'large'), options, load);
  const rows = contractRows(3000);
  await store.add(rows.slice(0, 2500));
  await store.optimize();
  await store.add(rows.slice(2500));
  await store.remove(rows.slice(0, 100).map(({ info }) => info.path));
  await store.optimize();
  const left = rows.slice(100);
  let found = 0;
  for (const { vector } of contractRows(20, 99)) {
    const scored = left.map((row) => ({ path: row.info.path, score: dot(vector, row.vector) }));
    const best = scored.sort((a, b) => b.score - a.score).slice(0, 10);
    const truth = new Set(best.map(({ path }) => path));
    const hits = await store.search(vector, { top: 10, where: [], exact: false });
    found += hits.filter(({ info }) => truth.has(info.path)).length;
  }
  assert.ok(found >= 0.95 * 200, `recall ${found / 200}`);
  await store.dispose();
  console.log(`LanceDB: the store does what it should; recall@10 with its index ${found / 200}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
