import { floats, ints, type Tensor } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { type TwoTowerConfig, twoTowerGraph } from '../models/clip-graphs.js';
import { checkPixels, textFeeds } from '../models/clip-inputs.js';
import type { Runtime, WeightLoader } from '../runtime/runtime.js';

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

/** The graph and feeds of a forward pass through both towers. */
function prepareClipForward(
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
