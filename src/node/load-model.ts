import { existsSync } from 'node:fs';
import { InputError } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { cachedDecoderGraph, type DecoderFamily, optFamily, towerGraphs, varyFamily } from '../infer/graphs.js';
import {
  createOptModel,
  createVaryModel,
  type ModelParts,
  type OptModel,
  type Precision,
  type ReadOptions,
  type ReadResult,
  type VaryModel,
} from '../infer/model.js';
import { checkpointLoader, type NamedWeights, nameWeights, requiredTensors } from '../infer/weights.js';
import { optConfigFrom, renameOptTensor } from '../models/opt.js';
import { renameVaryTensor, varyConfigFrom } from '../models/vary.js';
import type { Device } from '../runtime/runtime.js';
import { imageTokensOf } from '../text/image-tokens.js';
import { checkManifest } from '../weights/manifest.js';
import { openWeights, readConfig, readTokenizer } from './checkpoint-dir.js';
import { decodeImage, type ImageInput, type ImageLimits } from './images.js';
import { isClipPath, loadClip, type NodeClipModel } from './load-clip.js';
import { createRuntime } from './ort/runtime.js';

export interface LoadOptions {
  /** Of the decoder's matrices. Default float32. */
  readonly precision?: Precision;
  readonly device?: Device;
  readonly threads?: number;
  readonly towerSegments?: number;
}

/** A Vary model that takes images as paths, bytes or pixels. */
export interface NodeVaryModel extends Omit<VaryModel, 'read' | 'readAll'> {
  read(image: ImageInput, options?: ReadOptions & { readonly limits?: ImageLimits }): Promise<ReadResult>;
  readAll(
    images: readonly ImageInput[],
    options?: Omit<ReadOptions, 'onText'> & { readonly limits?: ImageLimits },
  ): Promise<ReadResult[]>;
}

export type Model = NodeVaryModel | OptModel | NodeClipModel;

const precisions: readonly Precision[] = ['float32', 'int8', 'int4'];

/** What a directory's config.json describes. Throws InputError for another family. */
export function familyOf(dir: string): { readonly family: DecoderFamily; readonly rename: (name: string) => string } {
  const where = `${dir}/config.json`;
  const config = asObject(readConfig(dir), where);
  if (config['model_type'] === 'vary')
    return { family: varyFamily(varyConfigFrom(config, where)), rename: renameVaryTensor };
  if (config['model_type'] === 'opt')
    return { family: optFamily(optConfigFrom(config, where)), rename: renameOptTensor };
  throw new InputError(
    `${where}: model_type: expected vary, opt, clip or siglip, got ${JSON.stringify(config['model_type'])}`,
  );
}

/** Checks that a checkpoint has every tensor of the model at the right shape, and no other. */
export function checkWeights(family: DecoderFamily, weights: NamedWeights, precision: Precision): void {
  const bits = ({ float32: 32, int8: 8, int4: 4 } as const)[precision];
  const graphs = [cachedDecoderGraph(family, bits), ...(family.kind === 'vary' ? towerGraphs(family.vary) : [])];
  checkManifest(requiredTensors(graphs, weights), weights.checkpoint, {
    names: weights.names,
    ignore: (name) => name === 'lm_head.weight' && family.decoder.tiedHead,
  });
}

/** Opens a checkpoint directory. Throws InputError or WeightsError saying what is wrong with it. */
export async function loadModel(dir: string, options: LoadOptions = {}): Promise<Model> {
  const { precision = 'float32', towerSegments } = options;
  if (!precisions.includes(precision)) {
    throw new InputError(`precision: expected ${precisions.join(', ')}, got ${String(precision)}`);
  }
  if (!existsSync(dir)) throw new InputError(`${dir}: there is no such checkpoint directory`);
  if (isClipPath(dir)) return loadClip(dir, createRuntime(options), precision);
  const { family, rename } = familyOf(dir);
  const tokenizer = readTokenizer(dir);
  const runtime = createRuntime(options);
  const checkpoint = await openWeights(dir);
  try {
    const weights = nameWeights(checkpoint, rename);
    checkWeights(family, weights, precision);
    const parts: ModelParts = {
      family,
      runtime,
      precision,
      weights: checkpointLoader(weights),
      close: () => checkpoint.dispose(),
      ...(tokenizer && { tokenizer }),
      ...(towerSegments !== undefined && { towerSegments }),
    };
    if (family.kind === 'opt') return createOptModel(parts);
    const imageTokens = tokenizer && imageTokensOf(tokenizer, asObject(readConfig(dir), dir));
    return withImages(createVaryModel({ ...parts, ...(imageTokens && { imageTokens }) }));
  } catch (error) {
    checkpoint.dispose();
    throw error;
  }
}

function withImages(model: VaryModel): NodeVaryModel {
  return {
    ...model,
    read: async (image, { limits, ...options } = {}) => model.read(await decodeImage(image, limits), options),
    readAll: async (images, { limits, ...options } = {}) => {
      const pixels = [];
      for (const image of images) pixels.push(await decodeImage(image, limits));
      return model.readAll(pixels, options);
    },
  };
}
