import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WeightsError } from '../../src/core/errors.js';
import { createRng, type Rng } from '../../src/core/rng.js';
import { sizeOf } from '../../src/core/tensor.js';
import { memorySource } from '../../src/weights/source.js';
import { openTorch } from '../../src/weights/torch.js';
import { readZip } from '../../src/weights/zip.js';
import { concat, op, pickleOf, stateDict, storedZip, tensorOf, torchZip } from '../helpers/torch-archive.js';

const storages = { 0: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer), 1: new Uint8Array(16) };
const pickle = pickleOf(
  stateDict({
    w: tensorOf({ elements: 4, size: [2, 2], stride: [2, 1] }),
    'a.b': tensorOf({ elements: 4, offset: 1, size: [3], stride: [1] }),
    half: tensorOf({ type: 'HalfStorage', key: '1', elements: 8, size: [2, 4], stride: [4, 1] }),
    steps: op.int(7),
    nested: op.dict([op.str('k'), op.list(op.tuple(op.bool(true), op.none()), op.short('x'))]),
  }),
);

/** Opens and reads everything: whether that worked. Anything but a WeightsError fails the test. */
async function survives(bytes: Uint8Array, what: string): Promise<boolean> {
  try {
    const file = await openTorch(memorySource('test.bin', bytes));
    for (const name of file.names) {
      const { shape, data } = await file.read(name);
      assert.equal(data.length, sizeOf(shape), what);
      assert.ok(data.byteLength < 1 << 20, `${what}: ${data.byteLength} bytes of a file of ${bytes.length}`);
    }
    return true;
  } catch (error) {
    assert.ok(error instanceof WeightsError, `${what}: ${String((error as Error).stack)}`);
    return false;
  }
}

/** Bytes changed, put in, taken out or repeated. */
function damage(original: Uint8Array, rng: Rng): Uint8Array {
  let bytes = Uint8Array.from(original);
  for (let k = rng.integer(1, 4); k > 0; k--) {
    const [at, length] = [rng.integer(0, bytes.length), rng.integer(1, 9)];
    const kind = rng.integer(0, 4);
    if (kind < 2) bytes[at] = rng.integer(0, 256);
    else if (kind === 2) bytes = Uint8Array.from(concat(bytes.subarray(0, at), bytes.subarray(at + length)));
    else bytes = Uint8Array.from(concat(bytes.subarray(0, at + length), bytes.subarray(at)));
    if (bytes.length === 0) return bytes;
  }
  return bytes;
}

test('damaged pickles in archives whose checksums fit give typed errors, in bounded memory and time', async () => {
  assert.ok(await survives(torchZip(pickle, storages), 'whole'));
  const rng = createRng(21);
  const [started, before] = [performance.now(), process.memoryUsage().arrayBuffers];
  let [loaded, refused] = [0, 0];
  for (let round = 0; round < 8000; round++) {
    const bytes = torchZip(damage(pickle, rng), storages);
    if (await survives(bytes, `round ${round}`)) loaded++;
    else refused++;
  }
  assert.ok(loaded > 50 && refused > 4000, `${loaded} loaded, ${refused} refused`);
  assert.ok(performance.now() - started < 30_000);
  assert.ok(process.memoryUsage().arrayBuffers - before < 128 << 20);
});

test('views of strange extents, strides and offsets read what is there or are refused', async () => {
  const rng = createRng(22);
  const strange = [-1, 0, 1, 2, 3, 4, 5, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 31)];
  const pick = () => strange[rng.integer(0, strange.length)];
  const few = () => Array.from({ length: rng.integer(0, 4) }, pick);
  let loaded = 0;
  for (let round = 0; round < 4000; round++) {
    const size = few();
    const stride = rng.next() < 0.9 ? size.map(pick) : few();
    const view = tensorOf({
      elements: rng.next() < 0.7 ? 4 : pick(),
      offset: rng.next() < 0.5 ? 0 : pick(),
      size,
      stride,
    });
    const what = `round ${round}: [${size}] by [${stride}]`;
    if (await survives(torchZip(pickleOf(stateDict({ w: view })), storages), what)) loaded++;
  }
  assert.ok(loaded > 100, `${loaded} loaded`);
});

test('damaged zip archives give typed errors, and never members outside the file', async () => {
  const members = [
    ['a/data.pkl', Buffer.from('one')],
    ['a/data/0', new Uint8Array(40)],
    ['a/version', Buffer.from('3\n')],
  ] as const;
  const original = storedZip(members);
  const rng = createRng(23);
  let refused = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = damage(original, rng);
    try {
      const found = await readZip(memorySource('test.zip', bytes));
      for (const { headerAt, size } of found.values()) assert.ok(headerAt + size <= bytes.length, `round ${round}`);
    } catch (error) {
      assert.ok(error instanceof WeightsError, `round ${round}: ${String((error as Error).stack)}`);
      refused++;
    }
  }
  assert.ok(refused > 8000, `${refused} refused`);
});
