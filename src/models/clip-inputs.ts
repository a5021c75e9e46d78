/** What the two towers' graphs take, for running them and for training. */
import { InputError, ShapeError } from '../core/errors.js';
import { intRows, ints, type Tensor } from '../core/tensor.js';
import { poolingPlaces } from './clip.js';
import type { TwoTowerConfig } from './clip-graphs.js';
import { checkRange, checkRows, paddingIndex } from './forward-inputs.js';

/** The text tower's feeds for rows of ids. Throws InputError for ids, masks and lengths that do not fit the model. */
export function textFeeds(
  config: TwoTowerConfig,
  inputIds: readonly (readonly number[])[],
  attentionMask?: readonly (readonly number[])[],
): Record<string, Tensor> {
  const length = inputIds[0]?.length ?? 0;
  if (length === 0) throw new InputError('inputIds: expected at least one row with one token');
  const { vocabSize, maxPositions, endId } = config.text;
  checkRange('inputIds', inputIds, vocabSize);
  if (length > maxPositions) {
    throw new InputError(`inputIds: a row has ${length} tokens, the model has ${maxPositions} positions`);
  }
  if (attentionMask) checkRows('attentionMask', attentionMask, inputIds);
  const places = Array.from({ length }, (_, t) => t);
  const feeds: Record<string, Tensor> = {
    inputIds: intRows(inputIds, 'inputIds'),
    positions: ints([length], places),
  };
  if (config.family === 'siglip') {
    if (attentionMask?.some((row) => row.includes(0))) {
      throw new InputError('attentionMask: a SigLIP text tower attends to padding; leave the mask out');
    }
    const ends = inputIds.map((_, r) => (r + 1) * length - 1);
    return { ...feeds, ends: ints([ends.length], ends) };
  }
  const ends = poolingPlaces(inputIds, endId);
  const keys = inputIds.map((_, r) => places.map((t) => (attentionMask && !attentionMask[r][t] ? paddingIndex : t)));
  const queries = inputIds.map(() => places);
  return {
    ...feeds,
    ends: ints([ends.length], ends),
    queryIndex: intRows(queries, 'queryIndex'),
    keyIndex: intRows(keys, 'keyIndex'),
  };
}

/** Throws unless `pixels` are float32 [images, channels, H, W] with at least one patch. Returns height and width. */
export function checkPixels(config: TwoTowerConfig, { dtype, shape }: Tensor): readonly [number, number] {
  const { channels, patchSize } = config.vision;
  const [images, depth, height, width] = shape;
  if (dtype !== 'float32' || shape.length !== 4 || depth !== channels || images < 1) {
    throw new ShapeError(`pixelValues: expected float32 [images, ${channels}, H, W], got ${dtype} [${shape}]`);
  }
  if (Math.min(height, width) < patchSize) {
    throw new InputError(`pixelValues: ${height}×${width} is smaller than one patch of ${patchSize}`);
  }
  return [height, width];
}
