/** New CLIP checkpoints of random weights. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { sizeOf } from '../core/tensor.js';
import { type ClipConfig, clipConfigJson } from '../models/clip.js';
import { imageGraph, nativeSize, similarityGraph, textGraph } from '../models/clip-graphs.js';
import { safetensorsChunks } from '../weights/safetensors.js';
import { makeDirectoryAtomic, writeFileAtomic } from './atomic.js';
import { builtinFolder } from './builtin-models.js';
import { copySideFiles } from './checkpoint-files.js';
import { randomTensors, writeJson } from './init-vary.js';

/**
 * Makes a directory with a whole two-tower checkpoint of random weights and the built-in model's words. Returns the number of
 * parameters. Throws InputError where something is there already.
 */
export async function writeRandomClip(out: string, config: ClipConfig, seed: number): Promise<number> {
  const graphs = [imageGraph(config, nativeSize(config)), textGraph(config), similarityGraph(config)];
  const tensors = randomTensors(graphs, seed);
  const { imageSize } = config.vision;
  await makeDirectoryAtomic(out, async (dir) => {
    copySideFiles(builtinFolder('clip-nano'), dir);
    rmSync(join(dir, 'README.md'), { force: true });
    writeJson(dir, 'config.json', clipConfigJson(config));
    writeJson(dir, 'preprocessor_config.json', {
      image_processor_type: 'CLIPImageProcessor',
      size: { shortest_edge: imageSize },
      crop_size: { height: imageSize, width: imageSize },
    });
    writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
  });
  return tensors.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
}
