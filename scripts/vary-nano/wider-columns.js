// A reader whose tower sees columns twice as wide, begun from one's weights: half the places for the same tokens. The new patches
// are the mean of two old ones, positions and distances every second one's; what that loses has to be learnt. It has an empty head
// for drafts, and takes pictures that are narrower by WIDTH_STEP pixels.
// usage: node scripts/vary-nano/wider-columns.js CHECKPOINT OUT WIDTH_STEP
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../dist/src/node/atomic.js';
import { openWeights } from '../../dist/src/node/checkpoint-dir.js';
import { copySideFiles } from '../../dist/src/node/checkpoint-files.js';
import { readFloat32 } from '../../dist/src/weights/checkpoint.js';
import { safetensorsChunks } from '../../dist/src/weights/safetensors.js';

const [from, out, widthStep] = process.argv.slice(2);
if (widthStep === undefined) {
  throw new Error('usage: node scripts/vary-nano/wider-columns.js CHECKPOINT OUT WIDTH_STEP');
}

/** Every last axis [.., k] of a tensor by `map`, from k numbers to `length`. */
function mapLast({ shape, data }, length, map) {
  const extent = shape.at(-1);
  const rows = data.length / extent;
  const mapped = new Float32Array(rows * length);
  for (let row = 0; row < rows; row++) mapped.set(map(data.subarray(row * extent, (row + 1) * extent)), row * length);
  return { shape: [...shape.slice(0, -1), length], data: mapped };
}

/** Rows of a table [.., N, C] for each of `length` places, the mean of those that `of` names. */
function mapRows({ shape, data }, length, of) {
  const C = shape.at(-1);
  const mapped = new Float32Array(length * C);
  for (let place = 0; place < length; place++) {
    const rows = of(place);
    for (const row of rows) {
      for (let c = 0; c < C; c++) mapped[place * C + c] += data[row * C + c] / rows.length;
    }
  }
  return { shape: [...shape.slice(0, -2), length, C], data: mapped };
}

const checkpoint = await openWeights(from);
const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8'));
const tower = config.vary_tower;
const columns = tower.img_size[1] / tower.patch_size[1];
if (tower.patch_size[1] !== 2 ** tower.stem.length || String(tower.net_strides[1]) !== '1,2') {
  throw new Error(
    `${from}: expected patches of one column behind the stem, and a last convolution that halves the columns`,
  );
}
const changes = {
  'patch_embed.proj.weight': (tensor) => mapLast(tensor, 2, ([w]) => [w / 2, w / 2]),
  pos_embed: (tensor) => mapRows(tensor, columns / 2, (column) => [2 * column, 2 * column + 1]),
  rel_pos_w: (tensor) => mapRows(tensor, columns - 1, (row) => [2 * (row - columns / 2 + 1) + columns - 1]),
  // Three columns of the old width, from the second of the left neighbour on, are the left one and the whole of the middle.
  'net_3.weight': (tensor) => mapLast(tensor, 3, ([left, middle, right]) => [left, middle + right, 0]),
};
const tensors = [];
for (const name of checkpoint.names) {
  const tensor = await readFloat32(checkpoint, name);
  const change = Object.entries(changes).find(([end]) => name.includes('vision_tower') && name.endsWith(end))?.[1];
  const { shape, data } = change ? change(tensor) : tensor;
  tensors.push([name, { dtype: 'float32', shape, data }]);
}
checkpoint.dispose();
const columnsPerToken = 2;
const [channels, outputs] = [tower.net_3, columnsPerToken * config.vocab_size];
const constant = (shape, value) => ({
  dtype: 'float32',
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b)).fill(value),
});
tensors.push(
  ['ctc_head.norm.weight', constant([channels], 1)],
  ['ctc_head.norm.bias', constant([channels], 0)],
  ['ctc_head.weight', constant([outputs, channels], 0)],
  ['ctc_head.bias', constant([outputs], 0)],
);
mkdirSync(out, { recursive: true });
copySideFiles(from, out);
writeFileAtomic(join(out, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
Object.assign(config, {
  torch_dtype: 'float32',
  vary_draft: { columns_per_token: columnsPerToken },
  vary_tower: {
    ...tower,
    patch_size: [tower.patch_size[0], 2 * tower.patch_size[1]],
    net_strides: [tower.net_strides[0], [1, 1]],
    width_step: Number(widthStep),
  },
});
writeFileAtomic(join(out, 'config.json'), [Buffer.from(`${JSON.stringify(config, null, 2)}\n`)]);
