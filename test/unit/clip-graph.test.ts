import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { printGraph } from '../../src/graph/print.js';
import { clipConfigFrom, clipConfigJson, clipNano, clipVitB32, poolingPlaces } from '../../src/models/clip.js';
import { imageGraph, nativeSize, textGraph, twoTowerGraph } from '../../src/models/clip-graphs.js';
import { siglipB16, siglipConfigFrom } from '../../src/models/siglip.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';

const clip = clipConfigFrom(fixtureJson('clip/ckpt-modern/config.json'), 'config.json');
const siglip = siglipConfigFrom(fixtureJson('siglip/ckpt/config.json'), 'config.json');
const whole = { loss: true, taps: [] };
const graphs = {
  'clip-tiny.image': () => imageGraph(clip, [40, 32]),
  'clip-tiny.text': () => textGraph(clip),
  'clip-tiny.whole': () => twoTowerGraph(clip, { imageSize: nativeSize(clip), ...whole }),
  'siglip-tiny.whole': () => twoTowerGraph(siglip, { imageSize: nativeSize(siglip), ...whole }),
};

for (const [name, build] of Object.entries(graphs)) {
  test(`replay: the graph ${name} is as it was`, () => {
    const path = fixturePath(`graphs/${name}.txt`);
    const printed = printGraph(build());
    if (process.env['UPDATE_GRAPHS'] === '1') writeFileSync(path, printed);
    assert.ok(existsSync(path), 'run with UPDATE_GRAPHS=1 once and check the file in');
    assert.equal(printed, readFileSync(path, 'utf8'));
  });
}

test('a config without sizes is the published base model; older configs repeat blocks', () => {
  assert.deepEqual(clipConfigFrom({ model_type: 'clip', text_config: { eos_token_id: 2 } }, 'c'), clipVitB32);
  assert.deepEqual(siglipConfigFrom({ model_type: 'siglip' }, 'c'), siglipB16);
  const old = { text_config: { hidden_size: 64, eos_token_id: 7 }, text_config_dict: { num_hidden_layers: 3 } };
  const { width, layers, endId } = clipConfigFrom(old, 'c').text;
  assert.deepEqual([width, layers, endId], [64, 3, 7]);
});

test('configs that no model has are refused', () => {
  assert.throws(
    () => clipConfigFrom({ text_config: { hidden_size: 10, num_attention_heads: 4 } }, 'c'),
    /not a multiple/,
  );
  assert.throws(() => clipConfigFrom({ vision_config: { patch_size: 300 } }, 'c'), /patch_size 300 is larger/);
  assert.deepEqual(clipConfigFrom(clipConfigJson(clipNano), 'c'), clipNano);
  assert.throws(
    () => clipConfigFrom({ vision_config: { patch_size: 12, stem: [8, 8, 8] } }, 'c'),
    /patch_size 12 is not a multiple of the stem's stride 8/,
  );
  assert.throws(() => clipConfigFrom({ vision_config: { hidden_act: 'x' } }, 'c'), /hidden_act: expected one of/);
  assert.throws(() => siglipConfigFrom({ vision_config: { vision_use_head: false } }, 'c'), /vision_use_head/);
  assert.throws(() => siglipConfigFrom({ text_config: { projection_size: 8 } }, 'c'), /projection_size .* 768, got 8/);
});

test('where texts are pooled: at the highest id, or at the first end token', () => {
  const rows = [
    [5, 9, 3, 9],
    [1, 2, 9, 9],
  ];
  assert.deepEqual(poolingPlaces(rows, undefined), [1, 6]);
  assert.deepEqual(poolingPlaces(rows, 3), [2, 4]);
  assert.deepEqual(poolingPlaces(rows, 9), [1, 6]);
});
