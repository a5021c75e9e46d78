import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { floats, type Tensor } from '../../src/core/tensor.js';
import { createGraphBuilder, fusedLowering, type Graph, plainLowering } from '../../src/graph/builder.js';
import { towerFeeds, towerGraphs, varyFamily, wholeGraph } from '../../src/models/graphs.js';
import { canvasWidth, type SamConfig, samConfigFrom, samTower } from '../../src/models/sam.js';
import { imageTokensAt, spliceSources, varyConfigFrom, withImageTokens } from '../../src/models/vary.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runGraph } from '../helpers/run-graph.js';
import { randomTensor } from '../helpers/tensors.js';

const towerJson = {
  img_size: [8, 48],
  patch_size: [8, 4],
  stem: [6],
  embed_dim: 12,
  depth: 2,
  num_heads: 2,
  window_size: 0,
  global_attn_indexes: [],
  out_chans: 8,
  net_2: 10,
  net_3: 12,
  net_strides: [
    [1, 1],
    [1, 2],
  ],
  width_step: 16,
};
const config = samConfigFrom(towerJson, 'tower');
const vary = varyConfigFrom(
  {
    hidden_size: 12,
    ffn_dim: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 32,
    vocab_size: 20,
    image_token_len: 6,
    im_patch_token: 17,
    im_start_token: 18,
    im_end_token: 19,
    vary_tower: towerJson,
    vary_input: 'line',
  },
  'config.json',
);

const weightsOf = (graph: Graph) =>
  new Map(
    graph.parameters
      .flatMap(({ sources }) => sources)
      .map(({ name, shape }, i) => [name, randomTensor(shape.map(Number), i, 0.4)]),
  );

function towerOf(config: SamConfig, width: number, lowering = plainLowering): Graph {
  const builder = createGraphBuilder('tower', lowering);
  builder.output('tokens', samTower(builder.root, builder.input('pixels', 'float32', [2, 3, 8, width]), config));
  return builder.finish();
}

/** Rows [from, to) of the last axis but one. */
function rowsOf({ shape, data }: Tensor<'float32'>, from: number, to: number): Tensor<'float32'> {
  const C = shape.at(-1) as number;
  return floats([...shape.slice(0, -2), to - from, C], data.slice(from * C, to * C));
}

for (const [name, lowering] of [
  ['plain', plainLowering],
  ['fused', fusedLowering],
] as const) {
  test(`a narrow picture is what a tower of that width makes of it, with the first positions and the nearest distances, ${name}`, async () => {
    const ofItsWidth = towerOf({ ...config, imageSize: [8, 32], widthStep: 0 }, 32);
    const weights = weightsOf(towerOf(config, 48));
    const own = new Map(weights);
    for (const [key, tensor] of weights) {
      if (key === 'pos_embed') own.set(key, rowsOf(tensor, 0, 8));
      // 12 columns: distance 0 is row 11 of 23. Of 8, it is row 7 of 15.
      if (key.endsWith('rel_pos_w')) own.set(key, rowsOf(tensor, 4, 19));
    }
    const pixels = randomTensor([2, 3, 8, 32], 99);
    const narrow = await runGraph(towerOf(config, 32, lowering), weights, { pixels });
    const wanted = await runGraph(ofItsWidth, own, { pixels });
    assert.deepEqual(narrow['tokens'].shape, [2, 4, 12]);
    assertAllclose(narrow['tokens'].data as Float32Array, wanted['tokens'].data as Float32Array, {
      atol: 1e-5,
      rtol: 1e-5,
    });
  });
}

test('a narrow picture is fewer tokens, the same in reading, for any width, and in training, for one', async () => {
  const whole = wholeGraph(varyFamily(vary), { images: 1, imageWidth: 32, loss: false, taps: ['image_features'] });
  const weights = weightsOf(whole);
  const pixels = randomTensor([1, 3, 8, 32], 7);
  let features: Tensor = pixels;
  for (const [part, graph] of towerGraphs(vary, { segments: 3 }).entries()) {
    features = (await runGraph(graph, weights, towerFeeds(vary, part, features)))['x.out'];
  }
  assert.deepEqual(features.shape, [1, 4, 12]);
  const values = features.data as Float32Array;

  const prompt = [2, 18, 17, 17, 17, 17, 17, 17, 19, 5];
  const ids = [withImageTokens(prompt, imageTokensAt(vary, 32))];
  assert.deepEqual(ids, [[2, 18, 17, 17, 17, 17, 19, 5]]);
  const grid = (rows: readonly (readonly number[])[]) => ({
    dtype: 'int64' as const,
    shape: [rows.length, rows[0].length],
    data: BigInt64Array.from(rows.flat(), BigInt),
  });
  const index = grid([ids[0].map((_, t) => t)]);
  const got = await runGraph(whole, weights, {
    inputIds: grid(ids),
    positions: index,
    queryIndex: index,
    keyIndex: index,
    outputRows: { dtype: 'int64', shape: [1], data: BigInt64Array.of(7n) },
    pixelValues: pixels,
    imageSource: grid(spliceSources(ids, imageTokensAt(vary, 32), 1)),
  });
  assertAllclose(got['image_features'].data as Float32Array, values, { atol: 1e-5, rtol: 1e-5 });
});

test('a picture has the narrowest canvas that it fits with an empty column behind it', () => {
  const widths = [0, 1, 12, 13, 28, 29, 44, 48, 60].map((width) => canvasWidth(config, width));
  assert.deepEqual(widths, [16, 16, 16, 32, 32, 48, 48, 48, 48]);
  assert.equal(canvasWidth({ ...config, widthStep: 0 }, 5), 48);
});

test('other widths, and steps that a tower cannot take, are refused', () => {
  assert.throws(() => towerOf(config, 24), InputError);
  const narrow = (width: number) => towerFeeds(vary, 0, randomTensor([1, 3, 8, width], 1));
  assert.throws(() => narrow(24), /expected 8×48 pixels, or narrower by whole steps of 16, got 8×24/);
  assert.throws(() => towerOf({ ...config, widthStep: 0 }, 32), /expected 8×48 pixels, got 8×32/);
  for (const changes of [{ width_step: 12 }, { window_size: 4 }, { img_size: [16, 48] }, { width_step: -16 }]) {
    assert.throws(() => samConfigFrom({ ...towerJson, ...changes }, 'x'), /^InputError: x: width_step/);
  }
});
