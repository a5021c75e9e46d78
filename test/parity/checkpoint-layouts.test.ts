import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bfloat16ToFloat32, float16ToFloat32, floatToBfloat16, floatToHalf } from '../../src/core/half.js';
import { nameWeights } from '../../src/infer/weights.js';
import { renameOptTensor } from '../../src/models/opt.js';
import { openWeights } from '../../src/node/checkpoint-dir.js';
import { readFloat32 } from '../../src/weights/checkpoint.js';
import { fixturePath } from '../helpers/fixtures.js';

const exact = (values: Float32Array) => values;
const half = (values: Float32Array) => float16ToFloat32(Uint16Array.from(values, floatToHalf));
const brain = (values: Float32Array) => bfloat16ToFloat32(Uint16Array.from(values, floatToBfloat16));

async function read(
  name: string,
): Promise<Map<string, { shape: readonly number[]; data: Float32Array; dtype: string }>> {
  const checkpoint = await openWeights(fixturePath(`opt/${name}`));
  const { names } = nameWeights(checkpoint, renameOptTensor);
  const tensors = new Map();
  for (const [ours, theirs] of names) {
    const { shape, data } = await readFloat32(checkpoint, theirs);
    tensors.set(ours, { shape, data, dtype: checkpoint.info(theirs).dtype });
  }
  checkpoint.dispose();
  return tensors;
}

const reference = await read('ckpt-pre');
const rounded = { float32: exact, float16: half, bfloat16: brain } as const;

for (const name of ['ckpt-pre-sharded', 'ckpt-pre-bin', 'ckpt-pre-sharded-bin', 'ckpt-pre-base-bin', 'ckpt-pre-bf16']) {
  test(`${name} holds the tensors of ckpt-pre`, async () => {
    const tensors = await read(name);
    for (const [key, { shape, data }] of reference) {
      const got = tensors.get(key);
      assert.ok(got, key);
      assert.deepEqual(got.shape, shape, key);
      assert.deepEqual(got.data, rounded[got.dtype as keyof typeof rounded](data), key);
    }
    const extra = [...tensors.keys()].filter((key) => !reference.has(key));
    assert.deepEqual(
      extra.filter((key) => key !== 'lm_head.weight'),
      [],
    );
  });
}
