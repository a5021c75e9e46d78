import { InputError, ShapeError } from '../core/errors.js';
import { floats, intRows, ints, type Tensor } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { poolingPlaces } from '../models/clip.js';
import { checkRange, checkRows, paddingIndex } from '../models/forward-inputs.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';
import { type TwoTowerConfig, twoTowerGraph } from './clip-graphs.js';

export interface ClipForwardInput {
  /** Rows of equal length. */
  readonly inputIds: readonly (readonly number[])[];
  /** 1 for tokens, 0 for padding; default: all tokens. SigLIP attends to padding and takes none. */
  readonly attentionMask?: readonly (readonly number[])[];
  /** float32 [images, 3, H, W], of any size. */
  readonly pixelValues: Tensor;
  /** Intermediates wanted, by name. */
  readonly taps?: readonly string[];
}

export interface ClipForwardOutput {
  /** float32 [images, texts], with the learned scale. */
  readonly logitsPerImage: Tensor<'float32'>;
  /** Unit vectors, float32 [images, E] and [texts, E]. */
  readonly imageEmbeds: Tensor<'float32'>;
  readonly textEmbeds: Tensor<'float32'>;
  /** The family's contrastive loss; with as many images as texts only. */
  readonly loss?: number;
  readonly taps: Readonly<Record<string, Tensor>>;
}

/** The text tower's feeds for rows of ids. Throws InputError for ids, masks and lengths that do not fit the model. */
export function textFeeds(
  config: TwoTowerConfig,
  inputIds: readonly (readonly number[])[],
  attentionMask?: readonly (readonly number[])[],
): Record<string, Tensor> {
  const length = inputIds[0]?.length ?? 0;
  if (length === 0) throw new InputError('inputIds: expected at least one row with one token');
  const { vocabSize, maxPositions, endId } = config.text;
  checkRange(inputIds, vocabSize);
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

/** The graph and feeds of a forward pass through both towers; also what a training step starts from. */
export function prepareClipForward(
  config: TwoTowerConfig,
  { inputIds, attentionMask, pixelValues, taps = [] }: ClipForwardInput,
): { readonly graph: Graph; readonly feeds: Record<string, Tensor> } {
  const imageSize = checkPixels(config, pixelValues);
  const batch = inputIds.length;
  const loss = pixelValues.shape[0] === batch;
  const feeds = { pixelValues, ...textFeeds(config, inputIds, attentionMask) };
  if (loss) Object.assign(feeds, pairFeeds(config, batch));
  return { graph: twoTowerGraph(config, { imageSize, loss, taps }), feeds };
}

/** What the loss needs to know: image i belongs to text i. */
function pairFeeds({ family }: TwoTowerConfig, batch: number): Record<string, Tensor> {
  const each = Array.from({ length: batch }, (_, i) => i);
  if (family === 'clip') {
    return {
      targets: ints([batch], each),
      targetWeights: floats(
        [batch],
        each.map(() => 1 / batch),
      ),
    };
  }
  const signs = each.flatMap((i) => each.map((j) => (i === j ? 1 : -1)));
  return { signs: floats([batch, batch], signs), count: floats([], [batch]) };
}

/** Runs both towers once. */
export async function clipForward(
  runtime: Runtime,
  weights: WeightLoader,
  config: TwoTowerConfig,
  input: ClipForwardInput,
): Promise<ClipForwardOutput> {
  const { graph, feeds } = prepareClipForward(config, input);
  const session = await runtime.compile(graph, { weights });
  try {
    const { logitsPerImage, imageEmbeds, textEmbeds, loss, ...taps } = await session.run(feeds);
    return {
      logitsPerImage: logitsPerImage as Tensor<'float32'>,
      imageEmbeds: imageEmbeds as Tensor<'float32'>,
      textEmbeds: textEmbeds as Tensor<'float32'>,
      ...(loss && { loss: Number(loss.data[0]) }),
      taps,
    };
  } finally {
    await session.dispose();
  }
}
