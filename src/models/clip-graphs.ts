import {
  createGraphBuilder,
  fusedLowering,
  type Graph,
  type Lowering,
  type NumberFormat,
  plainLowering,
  type Scope,
  type Value,
} from '../graph/builder.js';
import { sigmoidLoss, symmetricCrossEntropy } from '../nn/contrastive-loss.js';
import { l2Normalize } from '../nn/normalize.js';
import {
  type ClipConfig,
  clipLogits,
  clipPatches,
  clipText,
  clipVision,
  type TextInputs,
  type TowerExtent,
} from './clip.js';
import { causalBias } from './opt.js';
import { type SiglipConfig, siglipLogits, siglipPatches, siglipText, siglipVision } from './siglip.js';

/** Two towers into one space. */
export type TwoTowerConfig = ClipConfig | SiglipConfig;

type ImageSize = readonly [height: number, width: number];
type TextExtents = readonly [texts: string | number, length: string | number];
type Input = (name: string, dtype: 'float32' | 'int64', shape: readonly (string | number)[]) => Value;

/** The size the vision tower's positions were learned for. */
export const nativeSize = ({ vision }: TwoTowerConfig): ImageSize => [vision.imageSize, vision.imageSize];

function imageEmbeds(root: Scope, pixels: Value, config: TwoTowerConfig, extent: TowerExtent): Value {
  const features =
    config.family === 'clip' ? clipVision(root, pixels, config, extent) : siglipVision(root, pixels, config);
  return root.tap('image_embeds', l2Normalize(root, features));
}

/** The text tower's inputs [texts, length]; CLIP's has a causal mask besides, from queryIndex and keyIndex. */
function textEmbeds(
  root: Scope,
  input: Input,
  [texts, length]: TextExtents,
  config: TwoTowerConfig,
  extent: TowerExtent,
): Value {
  const ids = input('inputIds', 'int64', [texts, length]);
  const positions = input('positions', 'int64', [length]);
  const ends = input('ends', 'int64', [texts]);
  const clipInputs = (): TextInputs => {
    const [query, key] = ['queryIndex', 'keyIndex'].map((name) => input(name, 'int64', [texts, length]));
    return { ids, positions, ends, bias: causalBias(root, query, key) };
  };
  const features =
    config.family === 'clip'
      ? clipText(root, clipInputs(), config, extent)
      : siglipText(root, { ids, positions, ends }, config, extent);
  return root.tap('text_embeds', l2Normalize(root, features));
}

export interface TowerOptions {
  readonly numbers?: NumberFormat;
  /** A known number of rows, lowered to operators that have gradients: as training needs them. */
  readonly training?: readonly number[];
}

const towerLowering = ({ training, numbers }: TowerOptions): Lowering =>
  training ? plainLowering : { ...fusedLowering, ...numbers };

/** Pixels [images, 3, H, W] to unit vectors [images, E], `embeds`. `training` is [images]. */
export function imageGraph(config: TwoTowerConfig, [height, width]: ImageSize, options: TowerOptions = {}): Graph {
  const builder = createGraphBuilder('image', towerLowering(options));
  const [images] = options.training ?? ['images'];
  const pixels = builder.input('pixelValues', 'float32', [images, config.vision.channels, height, width]);
  builder.output('embeds', imageEmbeds(builder.root, pixels, config, 'pooled'));
  return builder.finish();
}

/** Pixels [images, 3, H, W] to a unit vector for every patch [images, h·w, E], `embeds`. */
export function patchGraph(config: TwoTowerConfig, [height, width]: ImageSize, options: TowerOptions = {}): Graph {
  const builder = createGraphBuilder('patches', towerLowering(options));
  const { root } = builder;
  const images = options.training?.[0] ?? 'images';
  const pixels = builder.input('pixelValues', 'float32', [images, config.vision.channels, height, width]);
  const patches = config.family === 'clip' ? clipPatches(root, pixels, config) : siglipPatches(root, pixels, config);
  builder.output('embeds', l2Normalize(root, patches));
  return builder.finish();
}

/**
 * Ids [texts, sequence], positions [sequence], ends [texts] (CLIP: queryIndex, keyIndex) to unit vectors [texts, E], `embeds`.
 * `training` is [texts, sequence].
 */
export function textGraph(config: TwoTowerConfig, options: TowerOptions = {}): Graph {
  const builder = createGraphBuilder('text', towerLowering(options));
  const [texts, length] = options.training ?? ['texts', 'sequence'];
  builder.output('embeds', textEmbeds(builder.root, builder.input, [texts, length], config, 'pooled'));
  return builder.finish();
}

/** Unit vectors images [images, E] and texts [texts, E] to `logits` [images, texts]. */
export function similarityGraph(config: TwoTowerConfig): Graph {
  const builder = createGraphBuilder('similarity', plainLowering);
  const [images, texts] = ['images', 'texts'].map((name) => builder.input(name, 'float32', [name, config.embedWidth]));
  builder.output('logits', similarityLogits(builder.root, images, texts, config));
  return builder.finish();
}

/** Similarities of unit vectors, scaled as the family does it: [images, texts]. */
export const similarityLogits = (root: Scope, images: Value, texts: Value, config: TwoTowerConfig): Value =>
  config.family === 'clip' ? clipLogits(root, images, texts, config) : siglipLogits(root, images, texts);

export interface TwoTowerGraphOptions {
  readonly imageSize: ImageSize;
  /** Image i belongs to text i, and there are as many. */
  readonly loss: boolean;
  readonly taps: readonly string[];
}

/**
 * Both towers in one graph: for the loss of given pairs, and what taps are asked of. Inputs as of `imageGraph` and
 * `textGraph`; with the loss CLIP takes targets and targetWeights [batch], SigLIP signs [batch, batch] and count []. Outputs:
 * imageEmbeds, textEmbeds, logitsPerImage, loss, taps.
 */
export function twoTowerGraph(config: TwoTowerConfig, { imageSize, loss, taps }: TwoTowerGraphOptions): Graph {
  const builder = createGraphBuilder('two-towers', plainLowering);
  const { root, input } = builder;
  const [images, texts] = loss ? ['batch', 'batch'] : ['images', 'texts'];
  const pixels = input('pixelValues', 'float32', [images, config.vision.channels, ...imageSize]);
  const image = imageEmbeds(root, pixels, config, 'whole');
  const text = textEmbeds(root, input, [texts, 'sequence'], config, 'whole');
  const perImage = similarityLogits(root, image, text, config);
  builder.output('imageEmbeds', image);
  builder.output('textEmbeds', text);
  builder.output('logitsPerImage', perImage);
  if (loss && config.family === 'clip') {
    const targets = input('targets', 'int64', ['batch']);
    const weights = input('targetWeights', 'float32', ['batch']);
    builder.output('loss', symmetricCrossEntropy(root, perImage, targets, weights));
  } else if (loss) {
    const signs = input('signs', 'float32', ['batch', 'batch']);
    builder.output('loss', sigmoidLoss(root, perImage, signs, input('count', 'float32', [])));
  }
  return builder.finish(taps);
}
