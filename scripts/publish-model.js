// Puts a run's checkpoint where a built-in model belongs, its tensors in float16; the card there stays.
// usage: node scripts/publish-model.js CHECKPOINT models/NAME
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { floatToHalf } from '../dist/src/core/half.js';
import { writeFileAtomic } from '../dist/src/node/atomic.js';
import { openWeights } from '../dist/src/node/checkpoint-dir.js';
import { copySideFiles } from '../dist/src/node/checkpoint-files.js';
import { readFloat32 } from '../dist/src/weights/checkpoint.js';
import { safetensorsChunks } from '../dist/src/weights/safetensors.js';

const [from, out] = process.argv.slice(2);
if (out === undefined) throw new Error('usage: node scripts/publish-model.js CHECKPOINT models/NAME');
const checkpoint = await openWeights(from);
const tensors = [];
for (const name of checkpoint.names) {
  const { shape, data } = await readFloat32(checkpoint, name);
  tensors.push([name, { dtype: 'float16', shape, data: Uint16Array.from(data, floatToHalf) }]);
}
checkpoint.dispose();
mkdirSync(out, { recursive: true });
copySideFiles(from, out);
writeFileAtomic(join(out, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
const config = { ...JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')), torch_dtype: 'float16' };
writeFileAtomic(join(out, 'config.json'), [Buffer.from(`${JSON.stringify(config, null, 2)}\n`)]);
