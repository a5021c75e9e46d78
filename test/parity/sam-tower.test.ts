import assert from 'node:assert/strict';
import { test } from 'node:test';
import { floats, sizeOf, type Tensor } from '../../src/core/tensor.js';
import { createGraphBuilder, fusedLowering, type Lowering, plainLowering } from '../../src/graph/builder.js';
import { relativePositions, type SamConfig, samConfigFrom, samTower } from '../../src/models/sam.js';
import { assertAllclose } from '../helpers/allclose.js';
import { fixtureJson } from '../helpers/fixtures.js';
import { runGraph } from '../helpers/run-graph.js';
import { fixtureTensors, pixelsOf, tensorOf } from '../helpers/tensors.js';

const lowerings: [string, Lowering][] = [
  ['plain', plainLowering],
  ['fused', fusedLowering],
];
const tolerance = { atol: 1e-4, rtol: 1e-4 };
const expected = await fixtureTensors('sam-tower/expected.safetensors');
const configOf = (name: string) => samConfigFrom(fixtureJson(`sam-tower/${name}.json`), name);

function towerGraph(config: SamConfig, lowering: Lowering, size: readonly number[], taps: readonly string[]) {
  const builder = createGraphBuilder('tower', lowering);
  const pixels = builder.input('pixels', 'float32', ['batch', 3, ...size]);
  builder.output('tokens', samTower(builder.root, pixels, config));
  return builder.finish(taps);
}

const images = pixelsOf(tensorOf(expected, 'image_u8'));
const firstOf = ({ shape, data }: Tensor<'float32'>) =>
  floats([1, ...shape.slice(1)], data.subarray(0, sizeOf(shape.slice(1))));

function oneImage(name: string): Tensor<'float32'> {
  const { shape, data } = pixelsOf(tensorOf(expected, name));
  return floats([1, ...shape.slice(-3)], data);
}

for (const [name, lowering] of lowerings) {
  test(`main tower, every tap, ${name} attention`, async () => {
    const config = configOf('tower');
    const taps = ['patch_embed', 'block.0', 'block.1', 'block.2', 'block.3', 'neck', 'net_2', 'output'];
    const weights = await fixtureTensors('sam-tower/tower.safetensors');
    const got = await runGraph(towerGraph(config, lowering, [64, 64], taps), weights, { pixels: firstOf(images) });
    for (const tap of taps) {
      assertAllclose(
        got[tap].data as Float32Array,
        tensorOf(expected, `main.${tap}`).data as Float32Array,
        tolerance,
        tap,
      );
    }
  });

  test(`two images in one batch, ${name} attention`, async () => {
    const weights = await fixtureTensors('sam-tower/tower.safetensors');
    const got = await runGraph(towerGraph(configOf('tower'), lowering, [64, 64], ['output']), weights, {
      pixels: images,
    });
    assertAllclose(
      got['output'].data as Float32Array,
      tensorOf(expected, 'main.batch_output').data as Float32Array,
      tolerance,
    );
  });

  test(`no absolute positions, another and non-square size, ${name} attention`, async () => {
    const weights = await fixtureTensors('sam-tower/tower-noabs.safetensors');
    const image = oneImage('noabs.image_u8');
    const graph = towerGraph(configOf('tower-noabs'), lowering, image.shape.slice(2), ['output']);
    const got = await runGraph(graph, weights, { pixels: image });
    assertAllclose(
      got['output'].data as Float32Array,
      tensorOf(expected, 'noabs.output').data as Float32Array,
      tolerance,
    );
  });

  test(`released channel widths, ${name} attention`, async () => {
    const json = fixtureJson<{ formula: Record<string, { shape: number[]; salt: number; scale_log2: number }> }>(
      'sam-tower/tower-full.json',
    );
    const weights = new Map(await fixtureTensors('sam-tower/tower-full.safetensors'));
    for (const [tensor, formula] of Object.entries(json.formula)) weights.set(tensor, formulaTensor(formula));
    const image = oneImage('full.image_u8');
    const graph = towerGraph(configOf('tower-full'), lowering, image.shape.slice(2), ['output']);
    const got = await runGraph(graph, weights, { pixels: image });
    assertAllclose(
      got['output'].data as Float32Array,
      tensorOf(expected, 'full.output').data as Float32Array,
      tolerance,
    );
  });
}

function formulaTensor({ shape, salt, scale_log2 }: { shape: number[]; salt: number; scale_log2: number }): Tensor {
  const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    let x = Math.imul(i + salt, 2654435761);
    x ^= x >>> 16;
    x = Math.imul(x, 2246822519);
    x ^= x >>> 13;
    return ((x >>> 8) / 2 ** 24 - 0.5) * 2 ** scale_log2;
  });
  return floats(shape, values);
}

for (let i = 0; expected.has(`rel_pos.${i}.table`); i++) {
  test(`relative positions, case ${i}`, async () => {
    const table = tensorOf(expected, `rel_pos.${i}.table`);
    const [queries, keys] = Array.from(tensorOf(expected, `rel_pos.${i}.sizes`).data as BigInt64Array, Number);
    const builder = createGraphBuilder('relative-positions');
    const input = builder.input('table', 'float32', table.shape);
    builder.output('positions', relativePositions(builder.root, input, queries, keys));
    const got = await runGraph(builder.finish(), new Map(), { table });
    const want = tensorOf(expected, `rel_pos.${i}.expected`).data as Float32Array;
    assertAllclose(got['positions'].data as Float32Array, want, { atol: 1e-5, rtol: 1e-5 });
  });
}

test("the neck's LayerNorms keep their epsilon, whatever the blocks have", () => {
  const config = { ...configOf('tower'), epsilon: 1e-3 };
  for (const { op, scope, attributes } of towerGraph(config, plainLowering, [64, 64], []).nodes) {
    if (op !== 'LayerNormalization') continue;
    const { epsilon } = attributes as { readonly epsilon: number };
    assert.equal(epsilon, scope.startsWith('neck') ? 1e-6 : 1e-3, scope);
  }
});
