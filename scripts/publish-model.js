// Puts a run's checkpoint where a built-in model belongs, its tensors in float16; the card there stays. With another checkpoint and a
// share, that much of the weights is the other's ("Model soups", arXiv 2203.05482).
// usage: node scripts/publish-model.js CHECKPOINT models/NAME [OTHER SHARE]
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { floatToHalf } from '../dist/src/core/half.js';
import { writeFileAtomic } from '../dist/src/node/atomic.js';
import { openWeights } from '../dist/src/node/checkpoint-dir.js';
import { copySideFiles } from '../dist/src/node/checkpoint-files.js';
import { readFloat32 } from '../dist/src/weights/checkpoint.js';
import { safetensorsChunks } from '../dist/src/weights/safetensors.js';

const [from, out, otherFolder, share = '0'] = process.argv.slice(2);
if (out === undefined) throw new Error('usage: node scripts/publish-model.js CHECKPOINT models/NAME [OTHER SHARE]');
const checkpoint = await openWeights(from);
const other = otherFolder && (await openWeights(otherFolder));
const tensors = [];
for (const name of checkpoint.names) {
  const { shape, data } = await readFloat32(checkpoint, name);
  if (other) {
    const { data: otherData } = await readFloat32(other, name);
    for (let i = 0; i < data.length; i++) data[i] += Number(share) * (otherData[i] - data[i]);
  }
  tensors.push([name, { dtype: 'float16', shape, data: Uint16Array.from(data, floatToHalf) }]);
}
checkpoint.dispose();
if (other) other.dispose();
mkdirSync(out, { recursive: true });
copySideFiles(from, out);
writeFileAtomic(join(out, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
const config = { ...JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')), torch_dtype: 'float16' };
writeFileAtomic(join(out, 'config.json'), [Buffer.from(`${JSON.stringify(config, null, 2)}\n`)]);
