import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createWorkerPool, type WorkerPoolOptions } from '../../src/node/worker-pool.js';
import type { PoolJob } from '../helpers/pool-worker.js';

function openPool(options: Partial<WorkerPoolOptions> = {}) {
  const pool = createWorkerPool<PoolJob, number>({
    module: new URL('../helpers/pool-worker.js', import.meta.url),
    data: undefined,
    threads: 1,
    jobsPerThread: 1,
    name: 'test',
    ...options,
  });
  after(() => pool.dispose());
  return pool;
}
const answer = (length: number, wait = 0): PoolJob => ({ do: 'answer', bytes: new Uint8Array(length), after: wait });

test('a thread that ends fails its own job; those that wait are done by another', async () => {
  for (const [name, message] of [
    ['exit', /test: the thread that worked on it ended/],
    ['throw later', /ended: out of nowhere/],
  ] as const) {
    const pool = openPool();
    assert.equal(await pool.run(answer(1)), 1);
    const all = [pool.run({ do: name }), pool.run(answer(2)), pool.run({ do: name }), pool.run(answer(3))];
    const [first, second, third, fourth] = await Promise.allSettled(all);
    for (const ended of [first, third]) {
      assert.ok(ended.status === 'rejected' && ended.reason.name === 'ThreadEndedError');
      assert.match(ended.reason.message, message);
    }
    assert.deepEqual(
      [second, fourth],
      [2, 3].map((value) => ({ status: 'fulfilled', value })),
    );
  }
});

test('a thread that ends leaves the other one with its job', async () => {
  const pool = openPool({ threads: 2 });
  const slow = pool.run(answer(5, 200));
  await assert.rejects(pool.run({ do: 'exit' }), { name: 'ThreadEndedError' });
  assert.equal(await slow, 5);
  assert.deepEqual(await Promise.all([1, 2, 3].map((length) => pool.run(answer(length)))), [1, 2, 3]);
});

test('a job that takes too long ends, and the next one is done', async () => {
  const pool = openPool({ timeLimit: 3 });
  await pool.run(answer(1));
  const [late, next] = await Promise.allSettled([pool.run({ do: 'spin' }), pool.run(answer(4))]);
  assert.ok(late.status === 'rejected' && late.reason.name === 'TimeLimitError');
  assert.equal(late.reason.message, 'test: took longer than 3 s');
  assert.deepEqual(next, { status: 'fulfilled', value: 4 });
});

test('a time limit that no timer can have is refused, and not over at once', () => {
  for (const timeLimit of [2147484, -1, Number.NaN]) {
    assert.throws(() => openPool({ timeLimit }), /test: time limit: expected from 0 to 2147483 seconds, got/);
  }
});

test('a thread that ends while its job is in native code takes nothing else with it', async () => {
  for (const wait of [0, 5, 20, 40]) {
    const pool = openPool({ threads: 2 });
    await Promise.all([pool.run(answer(1)), pool.run(answer(2))]);
    const decoding = Promise.allSettled([pool.run({ do: 'decode' }), pool.run({ do: 'decode' })]);
    await new Promise((resolve) => setTimeout(resolve, wait));
    // Ends when libuv's threads are done with it.
    await pool.dispose();
    for (const run of await decoding) assert.ok(run.status === 'rejected' && /was disposed/.test(run.reason.message));
  }
  const pool = openPool({ timeLimit: 1 });
  const [late, next] = await Promise.allSettled([pool.run({ do: 'decode' }), pool.run({ do: 'refuse' })]);
  assert.ok(late.status === 'rejected' && late.reason.name === 'TimeLimitError');
  assert.ok(next.status === 'rejected' && next.reason.name !== 'ThreadEndedError');
});

test('threads that cannot begin fail the jobs they were to do, with the reason', async () => {
  const pool = openPool({ data: 'broken', threads: 2 });
  for (const run of await Promise.allSettled([1, 2, 3, 4].map((length) => pool.run(answer(length))))) {
    assert.ok(run.status === 'rejected');
    assert.match(run.reason.message, /ended: cannot begin/);
  }
});

test('a wrong input is the input’s, a mistake is ours; memory is handed over', async () => {
  const pool = openPool();
  await assert.rejects(pool.run({ do: 'refuse' }), { name: 'InputError', message: 'not this' });
  await assert.rejects(pool.run({ do: 'fail' }), { name: 'VaryclipError', message: /test: TypeError: a mistake/ });
  const bytes = new Uint8Array(9);
  assert.equal(await pool.run({ do: 'answer', bytes }, [bytes.buffer]), 9);
  assert.equal(bytes.length, 0);
});

test('a pool that is disposed of does no more', async () => {
  const pool = openPool();
  const [spinning, waiting] = [pool.run({ do: 'spin' }), pool.run(answer(1))];
  const both = Promise.allSettled([spinning, waiting]);
  await pool.dispose();
  for (const run of await both) assert.ok(run.status === 'rejected' && /was disposed/.test(run.reason.message));
  await assert.rejects(pool.run(answer(1)), /was disposed/);
});
