import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { bfloat16ToFloat32, float16ToFloat32, floatToBfloat16, floatToHalf } from '../../src/core/half.js';
import { nameWeights } from '../../src/infer/weights.js';
import { renameOptTensor } from '../../src/models/opt.js';
import { openWeights } from '../../src/node/checkpoint-dir.js';
import { loadModel } from '../../src/node/load-model.js';
import { readFloat32 } from '../../src/weights/checkpoint.js';
import { scratchDir, wideOpt, writeOptCheckpoint } from '../helpers/checkpoints.js';
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

test('a tied matrix that is stored as the head alone is the embeddings; a head that differs from them is refused', async () => {
  const [embeddings, head] = ['model.decoder.embed_tokens.weight', 'lm_head.weight'];
  const scratch = scratchDir();
  const inputIds = [[2, 17, 33, 250]];
  const logitsOf = async (dir: string) => {
    const model = await loadModel(dir, { threads: 1 });
    try {
      assert.ok(model.kind === 'opt');
      return (await model.forward({ inputIds })).logits.data;
    } finally {
      await model.dispose();
    }
  };
  const plain = writeOptCheckpoint(join(scratch, 'plain'));
  const alone = writeOptCheckpoint(join(scratch, 'alone'), wideOpt, (tensors) => {
    tensors.set(head, tensors.get(embeddings)!);
    tensors.delete(embeddings);
  });
  const both = writeOptCheckpoint(join(scratch, 'both'), wideOpt, (t) => void t.set(head, t.get(embeddings)!));
  const wanted = await logitsOf(plain);
  assert.deepEqual(await logitsOf(alone), wanted);
  assert.deepEqual(await logitsOf(both), wanted);
  const other = writeOptCheckpoint(join(scratch, 'other'), wideOpt, (tensors) => {
    const { dtype, shape, data } = tensors.get(embeddings)!;
    tensors.set(head, { dtype, shape, data: (data as Float32Array).map((value) => 2 * value) });
  });
  await assert.rejects(logitsOf(other), /lm_head.weight is not .*embed_tokens.weight, but config.json ties them/);
});

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
