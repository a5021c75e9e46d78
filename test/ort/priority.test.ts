import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { libcFunction } from '../../src/node/ffi.js';
import { loadModel } from '../../src/node/load-model.js';
import { putThreadsBehindEventLoop } from '../../src/node/ort/priority.js';
import { poolThreads } from '../../src/node/ort/runtime.js';

test('threads that compute go behind the event loop, and it stays where it was', async () => {
  const own = getPriority();
  const model = await loadModel('examples/tiny-vary', { threads: 2 });
  assert.ok(model.kind === 'vary');
  await model.compile();
  await putThreadsBehindEventLoop();
  await model.dispose();
  assert.equal(getPriority(process.pid), own);
  // Elsewhere than on Linux threads have no numbers, and nothing changes.
  const isLinux = process.platform === 'linux';
  const threads = isLinux ? readdirSync('/proc/self/task').map(Number) : [];
  const behind = threads.filter((thread) => getPriority(thread) === Math.min(19, own + 5));
  const pool = poolThreads();
  assert.equal(pool.length > 0, isLinux);
  // What is not of ONNX Runtime's pool is of libuv's.
  const asked = libcFunction('int gettid()') !== undefined;
  const libuv = asked ? Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) : 0;
  assert.deepEqual(
    [behind.length, pool.every((thread) => behind.includes(thread))],
    [isLinux ? pool.length + libuv : 0, true],
  );
});
