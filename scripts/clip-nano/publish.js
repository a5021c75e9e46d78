// Puts a checkpoint of a run into models/clip-nano, its tensors in float16. usage: node scripts/clip-nano/publish.js CHECKPOINT
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { floatToHalf } from '../../dist/src/core/half.js';
import { writeFileAtomic } from '../../dist/src/node/atomic.js';
import { openWeights } from '../../dist/src/node/checkpoint-dir.js';
import { readFloat32 } from '../../dist/src/weights/checkpoint.js';
import { safetensorsChunks } from '../../dist/src/weights/safetensors.js';

const [from] = process.argv.slice(2);
const out = 'models/clip-nano';
const checkpoint = await openWeights(from);
const tensors = [];
for (const name of checkpoint.names) {
  const { shape, data } = await readFloat32(checkpoint, name);
  tensors.push([name, { dtype: 'float16', shape, data: Uint16Array.from(data, floatToHalf) }]);
}
checkpoint.dispose();
writeFileAtomic(join(out, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
copyFileSync(join(from, 'preprocessor_config.json'), join(out, 'preprocessor_config.json'));
const config = { ...JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')), torch_dtype: 'float16' };
writeFileAtomic(join(out, 'config.json'), [Buffer.from(`${JSON.stringify(config, null, 2)}\n`)]);
