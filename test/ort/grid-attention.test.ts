import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createGraphBuilder,
  fusedLowering,
  type Graph,
  type Lowering,
  plainLowering,
} from '../../src/graph/builder.js';
import { add, reshape, transpose } from '../../src/graph/functions.js';
import { samConfigFrom, samTower } from '../../src/models/sam.js';
import { attention } from '../../src/nn/attention.js';
import { gridAttention } from '../../src/nn/grid-attention.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runGraph } from '../helpers/run-graph.js';
import { randomTensor } from '../helpers/tensors.js';

const [N, h, w, heads, D] = [2, 7, 5, 3, 4];
const options = { heads, scale: D ** -0.5 };

/** Attention with the whole bias of two grids of positions, in the plain lowering. */
function wholeBias(): Graph {
  const { root, input, output, finish } = createGraphBuilder('whole', plainLowering);
  const [q, k, v] = ['q', 'k', 'v'].map((name) => input(name, 'float32', [N, h * w, heads * D]));
  const [rows, columns] = [h, w].map((side) => input(`by${side}`, 'float32', [N, h * w, heads, side]));
  const [byRow, byColumn] = [rows, columns].map((x) => transpose(root, x, [0, 2, 1, 3]));
  const sums = add(
    root,
    reshape(root, byRow, [N, heads * h * w, h, 1]),
    reshape(root, byColumn, [N, heads * h * w, 1, w]),
  );
  output('mixed', attention(root, q, k, v, { ...options, bias: reshape(root, sums, [N, heads, h * w, h * w]) }));
  return finish();
}

function inParts(scoresTogether: number): Graph {
  const { root, input, output, finish } = createGraphBuilder('parts', fusedLowering);
  const qkv = ['q', 'k', 'v'].map((name) => input(name, 'float32', ['images', h * w, heads * D]));
  const positions = [h, w].map((side) => input(`by${side}`, 'float32', ['images', h * w, heads, side]));
  output('mixed', gridAttention(root, qkv, positions, { ...options, scoresTogether }));
  return finish();
}

test('attention on a grid is the same a few rows of queries at a time', async () => {
  const feeds = {
    q: randomTensor([N, h * w, heads * D], 1),
    k: randomTensor([N, h * w, heads * D], 2),
    v: randomTensor([N, h * w, heads * D], 3),
    by7: randomTensor([N, h * w, heads, h], 4),
    by5: randomTensor([N, h * w, heads, w], 5),
  };
  const { mixed: wanted } = await runGraph(wholeBias(), new Map(), feeds);
  const scoresOfRow = heads * w * h * w;
  for (const [scoresTogether, parts] of [
    [1e9, 1],
    [3 * scoresOfRow, 3],
    [1, 7],
  ]) {
    const graph = inParts(scoresTogether);
    assert.equal(graph.nodes.filter(({ op }) => op === 'MultiHeadAttention').length, parts);
    const { mixed } = await runGraph(graph, new Map(), feeds);
    assertAllclose(mixed.data as Float32Array, wanted.data as Float32Array, { atol: 1e-5, rtol: 1e-5 }, `${parts}`);
  }
});

for (const [how, side] of [
  ['folded', 8],
  ['added', 12],
] as const) {
  test(`a tower is the same in both lowerings where its positions are ${how}`, async () => {
    const config = samConfigFrom(
      {
        img_size: [4 * side, 4 * (side - 2)],
        patch_size: 4,
        embed_dim: 32,
        depth: 2,
        num_heads: 2,
        window_size: 6,
        global_attn_indexes: [1],
        out_chans: 8,
        net_2: 10,
        net_3: 12,
      },
      'tower',
    );
    const towerIn = (lowering: Lowering) => {
      const { root, input, output, finish } = createGraphBuilder('tower', lowering);
      output('tokens', samTower(root, input('pixels', 'float32', [2, 3, ...config.imageSize]), config));
      return finish();
    };
    const [plain, fused] = [towerIn(plainLowering), towerIn(fusedLowering)];
    const biased = fused.nodes.filter(({ op, inputs }) => op === 'MultiHeadAttention' && inputs.length === 4);
    assert.equal(biased.length, how === 'added' ? 1 : 0);
    const weights = new Map(
      plain.parameters
        .flatMap(({ sources }) => sources)
        .map(({ name, shape }, i) => [name, randomTensor(shape.map(Number), i, 0.6)]),
    );
    const pixels = randomTensor([2, 3, ...config.imageSize], 9);
    const [a, b] = [await runGraph(plain, weights, { pixels }), await runGraph(fused, weights, { pixels })];
    assertAllclose(b['tokens'].data as Float32Array, a['tokens'].data as Float32Array, { atol: 1e-4, rtol: 1e-4 });
  });
}
