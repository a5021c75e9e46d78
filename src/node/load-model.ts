import { InputError } from '../core/errors.js';
import { asObject } from '../core/json.js';
import type { EngineOptions } from '../infer/engine.js';
import { createOptModel, createVaryModel, type ModelParts, type OptModel, type VaryModel } from '../infer/model.js';
import { lookOf } from '../infer/prepare.js';
import {
  modelGraphs,
  type Precision,
  precisionOf,
  type QuantizedPrecision,
  storedPrecision,
  type TowerPrecision,
} from '../infer/quantize.js';
import type { ReadOptions, ReadResult } from '../infer/reading.js';
import { checkpointLoader, type NamedWeights, nameDecoderWeights, requiredTensors } from '../infer/weights.js';
import { type DecoderFamily, optFamily, varyFamily } from '../models/graphs.js';
import { optConfigFrom, renameOptTensor } from '../models/opt.js';
import { renameVaryTensor, varyConfigFrom } from '../models/vary.js';
import type { Device } from '../runtime/runtime.js';
import { imageTokensOf } from '../text/image-tokens.js';
import { promptStyleFrom } from '../text/prompt-style.js';
import { checkManifest } from '../weights/manifest.js';
import { openWeights, readConfig, readTokenizer } from './checkpoint-dir.js';
import { hashTensors } from './hash-tensors.js';
import { resolveModel } from './hub/resolve.js';
import { hubSettings } from './hub/settings.js';
import { decodeToRead, type ImageInput, type ImageLimits } from './images.js';
import { isClipPath, loadClip, type NodeClipModel } from './load-clip.js';
import { createRuntime } from './ort/runtime.js';
import { jobSignal } from './signals.js';

export interface LoadOptions {
  /** Of the decoder's matrices. Default: as a quantized checkpoint stores them, else float32. */
  readonly precision?: Precision;
  /**
   * Of the matrices of a Vary model's tower and projector. Default float32: 'int8' is faster where the processor multiplies 8-bit
   * integers (VNNI, AMX), and readings may differ by a character.
   */
  readonly towerPrecision?: TowerPrecision;
  readonly device?: Device;
  readonly threads?: number;
  readonly towerSegments?: number;
  /** How reads share a Vary model. */
  readonly engine?: EngineOptions;
  /** Of a model that is named as on the hub. Default main. */
  readonly revision?: string;
  /** False downloads a hub model that is not in the cache. Default true. */
  readonly offline?: boolean;
}

/** A Vary model that takes images as paths, bytes or pixels. */
export interface NodeVaryModel extends Omit<VaryModel, 'read' | 'readAll'> {
  /** The checkpoint it was loaded from. */
  readonly directory: string;
  readonly precision: Precision;
  readonly towerPrecision: TowerPrecision;
  /** SHA-256 of the weights, whatever files they are in. Reads all of them. */
  hashWeights(): Promise<string>;
  read(image: ImageInput, options?: ReadOptions & { readonly limits?: ImageLimits }): Promise<ReadResult>;
  readAll(
    images: readonly ImageInput[],
    options?: Omit<ReadOptions, 'onText'> & { readonly limits?: ImageLimits },
  ): Promise<ReadResult[]>;
}

export interface NodeOptModel extends OptModel {
  /** The checkpoint it was loaded from. */
  readonly directory: string;
}

export type Model = NodeVaryModel | NodeOptModel | NodeClipModel;

export interface DescribedModel {
  readonly family: DecoderFamily;
  readonly rename: (name: string) => string;
  /** The precision of a quantized checkpoint. */
  readonly stored: QuantizedPrecision | undefined;
}

/** What a directory's config.json describes. Throws InputError for another family. */
export function familyOf(dir: string): DescribedModel {
  const where = `${dir}/config.json`;
  const config = asObject(readConfig(dir), where);
  const stored = storedPrecision(config, where);
  if (config['model_type'] === 'vary')
    return { family: varyFamily(varyConfigFrom(config, where)), rename: renameVaryTensor, stored };
  if (config['model_type'] === 'opt')
    return { family: optFamily(optConfigFrom(config, where)), rename: renameOptTensor, stored };
  throw new InputError(
    `${where}: model_type: expected vary, opt, clip or siglip, got ${JSON.stringify(config['model_type'])}`,
  );
}

/** Checks that a checkpoint has every tensor of the model at the right shape, and no other. */
export function checkWeights(family: DecoderFamily, weights: NamedWeights, precision: Precision): void {
  checkManifest(requiredTensors(modelGraphs(family, precision), weights), weights);
}

/**
 * Opens a checkpoint directory, a single file of OpenAI's CLIP, or a hub model (`org/name`) from the cache, whose place the HF_*
 * variables say. Throws InputError or WeightsError saying what is wrong with it.
 */
export async function loadModel(name: string, options: LoadOptions = {}): Promise<Model> {
  const { towerSegments, engine, towerPrecision = 'float32' } = options;
  if (towerPrecision !== 'float32' && towerPrecision !== 'int8') {
    throw new InputError(`towerPrecision: expected float32 or int8, got ${String(towerPrecision)}`);
  }
  const dir = await resolveModel(name, { ...options, settings: hubSettings(process.env) });
  if (isClipPath(dir)) return loadClip(dir, createRuntime(options), precisionOf(options.precision, undefined, dir));
  const { family, rename, stored } = familyOf(dir);
  const precision = precisionOf(options.precision, stored, dir);
  const tokenizer = readTokenizer(dir);
  const runtime = createRuntime(options);
  const checkpoint = await openWeights(dir);
  try {
    const weights = await nameDecoderWeights(checkpoint, rename, family.decoder);
    checkWeights(family, weights, precision);
    const parts: ModelParts = {
      family,
      runtime,
      precision,
      towerPrecision,
      weights: checkpointLoader(weights),
      close: () => checkpoint.dispose(),
      ...(tokenizer && { tokenizer }),
      ...(towerSegments !== undefined && { towerSegments }),
      ...(engine && { engine }),
    };
    if (family.kind === 'opt') return { ...createOptModel(parts), directory: dir };
    const json = asObject(readConfig(dir), dir);
    const imageTokens = tokenizer && imageTokensOf(tokenizer, json);
    const promptStyle = promptStyleFrom(json, `${dir}/config.json`);
    const model = createVaryModel({
      ...parts,
      ...(imageTokens && { imageTokens }),
      ...(promptStyle && { promptStyle }),
    });
    return { ...withImages(model, dir), precision, towerPrecision, hashWeights: () => hashTensors(checkpoint) };
  } catch (error) {
    checkpoint.dispose();
    throw error;
  }
}

function withImages(
  model: VaryModel,
  directory: string,
): Omit<NodeVaryModel, 'precision' | 'towerPrecision' | 'hashWeights'> {
  const expectReader = () => {
    if (model.tokenizer) return;
    throw new InputError(`${directory}: has no tokenizer: it cannot read; download it with the weights`);
  };
  const decode = (image: ImageInput, limits: ImageLimits | undefined) => {
    expectReader();
    return decodeToRead(image, limits, lookOf(model.config));
  };
  return {
    ...model,
    directory,
    read: async (image, { limits, ...options } = {}) => {
      const { pixels, warnings } = await decode(image, limits);
      return withWarnings(await model.read(pixels, options), warnings);
    },
    readAll: async (images, { limits, signal, ...options } = {}) => {
      const decoded: Awaited<ReturnType<typeof decode>>[] = [];
      for (const image of images) decoded.push(await decode(image, limits));
      // Every image listens to it.
      const own = { ...options, ...(signal && { signal: jobSignal(signal) }) };
      const results = await model.readAll(
        decoded.map(({ pixels }) => pixels),
        own,
      );
      return results.map((result, i) => withWarnings(result, decoded[i].warnings));
    },
    readPrepared: async (image, options) => {
      expectReader();
      return withWarnings(await model.readPrepared(image, options), image.warnings ?? []);
    },
  };
}

const withWarnings = (result: ReadResult, warnings: readonly string[]): ReadResult =>
  warnings.length === 0 ? result : { ...result, warnings: [...warnings, ...result.warnings] };
