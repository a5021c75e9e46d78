import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLineSource } from '../../src/node/rendered/line-source.js';

const options = {
  seed: 8,
  batchSize: 4,
  bucket: 3,
  stages: [
    { fromBatch: 0, maxWords: 1, height: 24 },
    { fromBatch: 6, maxWords: 4, height: 24 },
  ],
};

async function take(count: number, more: { workers?: number; start?: number }) {
  const source = createLineSource({ ...options, ...more });
  try {
    const batches = [];
    for (let i = 0; i < count; i++) batches.push(await source.next());
    return batches;
  } finally {
    await source.dispose();
  }
}

test('a batch is a function of seed and index, not of threads or of where the run started', async () => {
  const [all, late] = await Promise.all([take(9, { workers: 2 }), take(2, { start: 7 })]);
  assert.deepEqual(
    all.map(({ index }) => index),
    [0, 1, 2, 3, 4, 5, 6, 7, 8],
  );
  assert.deepEqual(late, all.slice(7));
  const lines = all.flatMap((batch) => batch.lines);
  // Every line of the groups once, and the second stage from its batch on.
  assert.deepEqual(
    lines.map(({ index }) => index).sort((a, b) => a - b),
    Array.from({ length: 36 }, (_, i) => i),
  );
  assert.ok(all.slice(0, 6).every((batch) => batch.lines.every(({ text }) => !text.includes(' ') || text.length < 20)));
  assert.ok(all.slice(6).some((batch) => batch.lines.some(({ text }) => text.split(' ').length > 2)));
});
