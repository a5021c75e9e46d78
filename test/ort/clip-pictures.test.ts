import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { floats } from '../../src/core/tensor.js';
import { createGraphBuilder } from '../../src/graph/builder.js';
import { loadModel, type NodeClipModel } from '../../src/index.js';
import { clipVitB32 } from '../../src/models/clip.js';
import { encoderLayers, encoderLayersInPlace } from '../../src/models/transformer-encoder.js';
import { decodeImage } from '../../src/node/images.js';
import { randomTensors } from '../../src/node/init-vary.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runCli } from '../helpers/cli.js';
import { temporaryFolder, withTokenizer } from '../helpers/clip-checkpoints.js';
import { fixturePath } from '../helpers/fixtures.js';
import { runGraph } from '../helpers/run-graph.js';

const checkpoint = withTokenizer('clip/ckpt-modern');
const cli = ['--model', checkpoint, '--threads', '2'];
const model = (await loadModel(checkpoint, { threads: 2 })) as NodeClipModel;
after(() => model.dispose());
const image = fixturePath('clip-image-processor/images/rgb.png');
const other = fixturePath('clip-image-processor/images/rgba.png');

test('a layer in place is a layer whose attention is masked to the diagonal', async () => {
  const T = 5;
  const config = { ...clipVitB32.vision, width: 16, heads: 2, mlpWidth: 24, layers: 2 };
  const mask = floats(
    [1, 1, T, T],
    Array.from({ length: T * T }, (_, i) => (Math.floor(i / T) === i % T ? 0 : -1e9)),
  );
  const builder = createGraphBuilder('both');
  const x = builder.input('x', 'float32', [1, T, 16]);
  builder.output('inPlace', encoderLayersInPlace(builder.root, x, config));
  const first = encoderLayers(builder.root, x, { ...config, layers: 1 });
  // The second layer under the first one's name would need other weights: it is made of a graph with one layer less.
  builder.output('first', first);
  const graph = builder.finish();
  const weights = new Map(randomTensors([graph, lastLayer()], 3));
  const input = floats(
    [1, T, 16],
    Array.from({ length: T * 16 }, (_, i) => Math.sin(i * i)),
  );
  const { inPlace, first: hidden } = await runGraph(graph, weights, { x: input });
  const { masked } = await runGraph(lastLayer(), weights, { x: hidden });
  assertAllclose(inPlace.data as Float32Array, masked.data as Float32Array, { atol: 1e-5 });

  /** Layer 1 alone, with its own names, and a mask. */
  function lastLayer() {
    const last = createGraphBuilder('last');
    const h = last.input('x', 'float32', [1, T, 16]);
    const renamed: typeof last.root = {
      ...last.root,
      at: (name) => (name === 'encoder' ? { ...last.root.at(name), at: layersFromOne } : last.root.at(name)),
    };
    const layersFromOne = () => {
      const layers = last.root.at('encoder').at('layers');
      return { ...layers, at: (layer: string | number) => layers.at(Number(layer) + 1) };
    };
    last.output('masked', encoderLayers(renamed, h, { ...config, layers: 1 }, { bias: last.root.constant(mask) }));
    return last.finish();
  }
});

test('SigLIP: of an image of one patch the patch is the image', async () => {
  const siglip = (await loadModel(fixturePath('siglip/ckpt'), { threads: 2 })) as NodeClipModel;
  const pixels = floats(
    [2, 3, 8, 8],
    Array.from({ length: 2 * 3 * 64 }, (_, i) => Math.cos(i)),
  );
  const [whole, patches] = [await siglip.embedPixels(pixels), await siglip.embedPatches(pixels)];
  assert.deepEqual(patches.shape, [2, 1, 24]);
  assertAllclose(patches.data, whole.data, { atol: 1e-5, rtol: 0 });
  const large = floats(
    [1, 3, 32, 32],
    Array.from({ length: 3 * 1024 }, (_, i) => Math.cos(i)),
  );
  assert.deepEqual((await siglip.embedPatches(large)).shape, [1, 16, 24]);
  await siglip.dispose();
});

test('locate: cosines of a text and every patch, over the part of the image that was seen', async () => {
  const { width, height } = await decodeImage(image);
  const { similarities, region } = await model.locate(image, 'a cat');
  const side = model.config.vision.imageSize / model.config.vision.patchSize;
  assert.deepEqual(similarities.shape, [side, side]);
  assert.ok(similarities.data.every((x) => Math.abs(x) <= 1));
  assert.ok(new Set(similarities.data).size > 1);
  const short = Math.min(width, height);
  assert.ok(Math.abs(Math.min(region.width, region.height) - short) < 1, JSON.stringify(region));
  const twice = await model.locate(image, ['a cat', 'a cat']);
  assertAllclose(twice.similarities.data, similarities.data, { atol: 1e-6, rtol: 0 });
  await assert.rejects(model.locate(image, []), { name: 'InputError' });
});

test('classify --where draws over the image; embed --matrix draws cosines as numbers', async () => {
  const dir = temporaryFolder();
  const png = join(dir, 'where.png');
  const told = await runCli(['classify', image, '--labels', 'cat,dog', '--where', png, ...cli]);
  assert.equal(told.code, 0, told.err);
  const [drawn, original] = [await decodeImage(png), await decodeImage(image)];
  assert.deepEqual([drawn.width, drawn.height], [original.width, original.height]);
  assert.notDeepEqual(drawn.data, original.data);
  assert.equal((await runCli(['classify', image, other, '--labels', 'cat', '--where', png, ...cli])).code, 2);
  const texts = ['--text', 'a <cat>', '--text', 'a dog'];
  for (const name of ['matrix.svg', 'matrix.html']) {
    const path = join(dir, name);
    const { code, out, err } = await runCli(['embed', image, other, ...texts, '--matrix', path, ...cli]);
    assert.deepEqual([code, out], [0, ''], err);
    const svg = readFileSync(path, 'utf8');
    assert.equal(svg.match(/<image href="data:image\/jpeg;base64,/g)?.length, 2);
    assert.match(svg, />a &lt;cat&gt;<\/text>/);
    const images = await model.embedImages([image, other]);
    const words = await model.embedTexts(['a <cat>', 'a dog']);
    const width = images.shape[1];
    for (let text = 0; text < 2; text++) {
      for (let column = 0; column < 2; column++) {
        let cosine = 0;
        for (let i = 0; i < width; i++) cosine += images.data[column * width + i] * words.data[text * width + i];
        assert.ok(svg.includes(`>${cosine.toFixed(2)}</text>`), `${text}, ${column}: ${cosine}`);
      }
    }
    rmSync(path);
  }
  const wrong: [string[], RegExp][] = [
    [['embed', image, ...texts, '--matrix', 'a.png', ...cli], /\.svg or \.html/],
    [['embed', image, '--matrix', 'a.svg', ...cli], /a text with --text/],
    [['embed', '-', ...texts, '--matrix', 'a.svg', ...cli], /not standard input/],
  ];
  for (const [args, message] of wrong) {
    const { code, err } = await runCli(args);
    assert.equal(code, 2);
    assert.match(err, message);
  }
});
