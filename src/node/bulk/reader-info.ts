import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import type { ReaderInfo } from '../../output/document/page.js';
import type { NodeVaryModel } from '../load-model.js';

/** Changes when pages are cut, prepared or tried again in another way, so that results are not mixed. */
const preparationVersion = 3;

/** What reads: its name, and hashes of its weights and of all that is done to a page before them. Reads all weights. */
export async function readerInfoOf(
  model: NodeVaryModel,
  name: string = basename(model.directory),
): Promise<ReaderInfo> {
  const { input, tower } = model.config;
  const preparation = JSON.stringify({ version: preparationVersion, input, size: tower.imageSize });
  return {
    name,
    weights: await model.hashWeights(),
    precision: model.precision,
    ...(model.towerPrecision !== 'float32' && { towerPrecision: model.towerPrecision }),
    preprocessing: createHash('sha256').update(preparation).digest('hex'),
  };
}
