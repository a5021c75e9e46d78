import { dirname, join, resolve } from 'node:path';
import { InputError } from '../core/errors.js';
import { asObject, isObject, type JsonObject } from '../core/json.js';
import { type ClipProcessor, clipProcessorFrom } from '../image/clip-processor.js';
import {
  type ClipModel,
  type ClipParts,
  createClipModel,
  type Located,
  type RunSignal,
  type TextOptions,
} from '../infer/clip-model.js';
import type { Classification, LabelOptions } from '../infer/labels.js';
import { type Precision, storedNumbers } from '../infer/quantize.js';
import { checkpointLoader, type NamedWeights, nameWeights, requiredTensors } from '../infer/weights.js';
import { clipConfigFrom, isPositionIds } from '../models/clip.js';
import { imageGraph, nativeSize, similarityGraph, type TwoTowerConfig, textGraph } from '../models/clip-graphs.js';
import { fromOpenAi, hasOpenAiNames, openAiConfigFrom, unwrapped } from '../models/clip-names.js';
import { siglipConfigFrom } from '../models/siglip.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { checkManifest } from '../weights/manifest.js';
import { openWeights, readImageProcessor, readSiglipTokenizer, readTokenizer } from './checkpoint-dir.js';
import { fileExists, readJson } from './files.js';
import { hashTensors } from './hash-tensors.js';
import { decodeImage, type ImageInput, type ImageLimits } from './images.js';

type WithLimits = { readonly limits?: ImageLimits };

/** Labels embedded once, for images as paths, bytes or pixels. */
export interface NodeClassifier {
  readonly labels: readonly string[];
  classify(image: ImageInput, options?: RunSignal & WithLimits): Promise<Classification[]>;
}

/** A CLIP model that takes images as paths, bytes or pixels. */
export interface NodeClipModel extends Omit<ClipModel, 'embedImages' | 'createClassifier' | 'classify' | 'locate'> {
  /** Where it was loaded from: an absolute path. */
  readonly source: string;
  /** Where its vectors are multiplied and compared. */
  readonly runtime: Runtime;
  /** SHA-256 of the weights, whatever files they are in. Reads all of them. */
  hashWeights(): Promise<string>;
  embedImages(images: readonly ImageInput[], options?: RunSignal & WithLimits): ReturnType<ClipModel['embedImages']>;
  createClassifier(labels: readonly string[], options?: LabelOptions & RunSignal): Promise<NodeClassifier>;
  classify(
    image: ImageInput,
    labels: readonly string[],
    options?: LabelOptions & RunSignal & WithLimits,
  ): Promise<Classification[]>;
  locate(
    image: ImageInput,
    text: string | readonly string[],
    options?: TextOptions & RunSignal & WithLimits,
  ): Promise<Located>;
}

/** A two-tower checkpoint: where its parts are. */
export interface ClipSource {
  readonly config: TwoTowerConfig;
  readonly checkpoint: Checkpoint;
  readonly processor: ClipProcessor;
  readonly tokenizer: Tokenizer | undefined;
}

const openClipFile = 'open_clip_config.json';
const openClipWeights = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin'] as const;

/** Whether a path is of CLIP's family: by its `config.json`, an open_clip folder, or a single file of OpenAI's. */
export function isClipPath(path: string): boolean {
  if (fileExists(path)) return /\.(pt|pth|bin|safetensors)$/i.test(path);
  const config = readJson(path, 'config.json');
  if (isObject(config)) return config['model_type'] === 'clip' || config['model_type'] === 'siglip';
  return fileExists(join(path, openClipFile));
}

/** Opens whatever of CLIP's layouts is at `path`. Throws InputError or WeightsError. */
export async function openClip(path: string): Promise<ClipSource> {
  const isFile = fileExists(path);
  const dir = isFile ? dirname(path) : path;
  const json = isFile ? undefined : readJson(dir, 'config.json');
  if (json === undefined) return openOpenAi(path, dir, isFile);
  const where = `${dir}/config.json`;
  const isSiglip = asObject(json, where)['model_type'] === 'siglip';
  const config = isSiglip ? siglipConfigFrom(json, where) : clipConfigFrom(json, where);
  const processor = processorOf(dir, config);
  const tokenizer = isSiglip ? readSiglipTokenizer(dir) : readTokenizer(dir);
  return { config, processor, tokenizer, checkpoint: await openWeights(dir) };
}

/** A file with OpenAI's names, or an open_clip folder. */
async function openOpenAi(path: string, dir: string, isFile: boolean): Promise<ClipSource> {
  const described = isFile ? undefined : asObject(readJson(dir, openClipFile), `${dir}/${openClipFile}`);
  const weights = isFile ? path : openClipWeights.map((name) => join(dir, name)).find(fileExists);
  const stored = unwrapped(await openWeights(weights ?? dir));
  try {
    if (!hasOpenAiNames(stored.names)) {
      throw new InputError(`${stored.name}: expected OpenAI's CLIP tensors (visual.conv1.weight, text_projection, …)`);
    }
    const where = `${dir}/${openClipFile}: model_cfg`;
    const config = openAiConfigFrom(stored, described?.['model_cfg'], where);
    const processor = processorOf(dir, config, openClipSteps(described?.['preprocess_cfg'], config, dir));
    return { config, processor, tokenizer: readTokenizer(dir), checkpoint: fromOpenAi(stored) };
  } catch (error) {
    stored.dispose();
    throw error;
  }
}

const openClipFilters: Readonly<Record<string, number>> = { bilinear: 2, bicubic: 3 };

/** open_clip's `preprocess_cfg` in the terms of `preprocessor_config.json`. Throws InputError for what is not known here. */
function openClipSteps(given: unknown, { vision: { imageSize } }: TwoTowerConfig, dir: string): JsonObject {
  const where = `${dir}/${openClipFile}: preprocess_cfg`;
  const json = given === undefined ? {} : asObject(given, where);
  const { mean, std, interpolation = 'bicubic', resize_mode: mode = 'shortest' } = json;
  const filter = Object.entries(openClipFilters).find(([name]) => name === interpolation)?.[1];
  if (filter === undefined) {
    const names = Object.keys(openClipFilters).join(' or ');
    throw new InputError(`${where}: interpolation: expected ${names}, got ${JSON.stringify(interpolation)}`);
  }
  if (mode !== 'shortest' && mode !== 'squash') {
    throw new InputError(`${where}: resize_mode: expected shortest or squash, got ${JSON.stringify(mode)}`);
  }
  const squash = { size: { height: imageSize, width: imageSize }, do_center_crop: false };
  return {
    resample: filter,
    ...(mode === 'squash' && squash),
    ...(mean !== undefined && { image_mean: mean }),
    ...(std !== undefined && { image_std: std }),
  };
}

/** A checkpoint's image processor, or the family's values at the model's size with `given` in their places. */
function processorOf(dir: string, config: TwoTowerConfig, given: JsonObject = {}): ClipProcessor {
  const stored = readImageProcessor(dir);
  const { imageSize } = config.vision;
  const half = [0.5, 0.5, 0.5];
  const siglip = {
    do_center_crop: false,
    size: { height: imageSize, width: imageSize },
    image_mean: half,
    image_std: half,
  };
  const clip = { size: imageSize, crop_size: imageSize };
  if (stored === undefined) return clipProcessorFrom({ ...(config.family === 'siglip' ? siglip : clip), ...given });
  const defaults = config.family === 'siglip' ? siglip : {};
  return clipProcessorFrom({ ...defaults, ...stored.json }, stored.where);
}

/** A checkpoint's tensors, which have our names, without the numbers of positions that older ones store. */
export const nameClipWeights = (checkpoint: Checkpoint): NamedWeights =>
  nameWeights(checkpoint, (name) => (isPositionIds(name) ? undefined : name));

/** Checks that a checkpoint has every tensor of the model at the right shape, and no other. */
export function checkClipWeights(config: TwoTowerConfig, weights: NamedWeights, precision: Precision): void {
  const numbers = storedNumbers(precision);
  const graphs = [
    imageGraph(config, nativeSize(config), { numbers }),
    textGraph(config, { numbers }),
    similarityGraph(config),
  ];
  checkManifest(requiredTensors(graphs, weights), weights);
}

/** A CLIP or SigLIP model from any of the layouts that `openClip` knows. */
export async function loadClip(path: string, runtime: Runtime, precision: Precision): Promise<NodeClipModel> {
  const { checkpoint, tokenizer, ...source } = await openClip(path);
  try {
    const weights = nameClipWeights(checkpoint);
    checkClipWeights(source.config, weights, precision);
    const parts: ClipParts = {
      ...source,
      runtime,
      precision,
      weights: checkpointLoader(weights),
      close: () => checkpoint.dispose(),
      ...(tokenizer && { tokenizer }),
    };
    return withImages(createClipModel(parts), {
      source: resolve(path),
      runtime,
      hashWeights: () => hashTensors(checkpoint),
    });
  } catch (error) {
    checkpoint.dispose();
    throw error;
  }
}

type Origin = Pick<NodeClipModel, 'source' | 'runtime' | 'hashWeights'>;

function withImages(model: ClipModel, origin: Origin): NodeClipModel {
  const createClassifier: NodeClipModel['createClassifier'] = async (labels, options) => {
    const classifier = await model.createClassifier(labels, options);
    return {
      labels,
      classify: async (image, { limits, ...run } = {}) => classifier.classify(await decodeImage(image, limits), run),
    };
  };
  return {
    ...model,
    ...origin,
    createClassifier,
    embedImages: async (images, { limits, ...options } = {}) => {
      const pixels = [];
      for (const image of images) pixels.push(await decodeImage(image, limits));
      return model.embedImages(pixels, options);
    },
    locate: async (image, text, { limits, ...options } = {}) =>
      model.locate(await decodeImage(image, limits), text, options),
    classify: async (image, labels, { limits, ...options } = {}) =>
      model.classify(await decodeImage(image, limits), labels, options),
  };
}
