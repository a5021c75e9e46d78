import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RuntimeUnavailableError } from '../../src/core/errors.js';
import { floats } from '../../src/core/tensor.js';
import { numbersOf } from '../../src/infer/quantize.js';
import type { Device, Runtime, Session } from '../../src/runtime/runtime.js';

/** A runtime whose sum of 64 products of 255 and 127 is what `sum` says; counts how often it is asked. */
function scripted(sum: () => number, device: Device = 'cpu') {
  const asked = { times: 0 };
  const session = {
    run: async () => ({ sum: floats([1, 1], [sum()]) }),
    dispose: async () => undefined,
  } as unknown as Session;
  const compile = async () => {
    asked.times++;
    return session;
  };
  return { asked, runtime: { device, threads: 1, compile, allocate: () => assert.fail() } as unknown as Runtime };
}

test('inputs have 8 bits where products of integers are exact, and 7 where they saturate', async () => {
  const exact = scripted(() => 64 * 127 * 255);
  assert.deepEqual(await numbersOf('int8', exact.runtime), { weightBits: 8, inputBits: 8 });
  assert.equal(exact.asked.times, 1);
  assert.deepEqual(await numbersOf('int4', exact.runtime), { weightBits: 4, inputBits: 32 });
  assert.equal(exact.asked.times, 1);
  const saturating = scripted(() => 32 * 32767);
  assert.deepEqual(await numbersOf('int8', saturating.runtime), { weightBits: 8, inputBits: 7 });
});

test('float32 asks nothing; a runtime that failed once is asked again; other devices are refused', async () => {
  const { runtime, asked } = scripted(() => {
    if (asked.times === 1) throw new Error('no memory');
    return 64 * 127 * 255;
  });
  assert.deepEqual(await numbersOf('float32', runtime), { weightBits: 32, inputBits: 32 });
  assert.equal(asked.times, 0);
  await assert.rejects(numbersOf('int8', runtime), /no memory/);
  assert.equal((await numbersOf('int8', runtime)).inputBits, 8);
  await assert.rejects(numbersOf('int8', scripted(() => 0, 'cuda').runtime), RuntimeUnavailableError);
});
