/** Models in a browser: fetched, kept, and run on the device. */
import { InputError, messageOf } from '../core/errors.js';
import { asObject } from '../core/json.js';
import type { EngineOptions } from '../infer/engine.js';
import { createVaryModel, type VaryModel } from '../infer/model.js';
import { modelGraphs, precisionOf, storedPrecision } from '../infer/quantize.js';
import { checkpointLoader, nameDecoderWeights, requiredTensors } from '../infer/weights.js';
import { varyFamily } from '../models/graphs.js';
import { renameVaryTensor, varyConfigFrom } from '../models/vary.js';
import { imageTokensOf } from '../text/image-tokens.js';
import { promptStyleFrom } from '../text/prompt-style.js';
import { createTokenizer } from '../text/tokenizer.js';
import { checkManifest } from '../weights/manifest.js';
import { openSafetensors } from '../weights/safetensors.js';
import { memorySource } from '../weights/source.js';
import { type FetchFile, fetchFiles } from './files.js';
import { createWebRuntime, type WebRuntimeOptions } from './runtime.js';

export interface WebLoadOptions extends WebRuntimeOptions {
  /** How reads share the model. Default: 8 rows together. */
  readonly engine?: EngineOptions;
  /** How files are fetched. Default: with the Cache API where there is one. */
  readonly fetchFile?: FetchFile;
}

/**
 * Opens a Vary checkpoint in Hugging Face's layout below the URL of a folder. Throws InputError where a file is not there, and
 * WeightsError where the weights are not the model's.
 */
export async function loadModel(
  folder: string,
  { wasm, engine = { slots: 8 }, fetchFile = fetchFiles() }: WebLoadOptions,
): Promise<VaryModel> {
  const base = folder.endsWith('/') ? folder : `${folder}/`;
  const text = async (name: string): Promise<string | undefined> => {
    const bytes = await fetchFile(base + name);
    return bytes && new TextDecoder().decode(bytes);
  };
  const json = async (name: string): Promise<unknown> => {
    const found = await text(name);
    return found === undefined ? undefined : parseJson(found, base + name);
  };
  const where = `${base}config.json`;
  const config = asObject(await json('config.json'), where);
  if (config['model_type'] !== 'vary') {
    throw new InputError(`${where}: model_type: expected vary, got ${JSON.stringify(config['model_type'])}`);
  }
  const family = varyFamily(varyConfigFrom(config, where));
  const precision = precisionOf(undefined, storedPrecision(config, where), where);
  const tokenizer = createTokenizer({
    tokenizerJson: await json('tokenizer.json'),
    tokenizerConfig: await json('tokenizer_config.json'),
    vocabJson: await json('vocab.json'),
    mergesTxt: await text('merges.txt'),
    addedTokens: await json('added_tokens.json'),
    specialTokensMap: await json('special_tokens_map.json'),
  });
  const file = `${base}model.safetensors`;
  const bytes = await fetchFile(file);
  if (!bytes) throw new InputError(`${file}: is not there`);
  const checkpoint = await openSafetensors(memorySource(file, bytes));
  const weights = await nameDecoderWeights(checkpoint, renameVaryTensor, family.decoder);
  checkManifest(requiredTensors(modelGraphs(family, precision), weights), weights);
  const promptStyle = promptStyleFrom(config, where);
  return createVaryModel({
    family,
    runtime: createWebRuntime({ wasm }),
    precision,
    weights: checkpointLoader(weights),
    tokenizer,
    imageTokens: imageTokensOf(tokenizer, config),
    engine,
    close: () => checkpoint.dispose(),
    ...(promptStyle && { promptStyle }),
  });
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where}: is not JSON: ${messageOf(cause)}`, { cause });
  }
}
