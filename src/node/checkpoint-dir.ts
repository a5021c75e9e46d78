import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, WeightsError } from '../core/errors.js';
import { asObject, isObject, type JsonObject } from '../core/json.js';
import { createSiglipTokenizer } from '../text/siglip-tokenizer.js';
import { createTokenizer, type Tokenizer } from '../text/tokenizer.js';
import { type Checkpoint, openSharded } from '../weights/checkpoint.js';
import { openSafetensors } from '../weights/safetensors.js';
import { openTorch } from '../weights/torch.js';
import { directoryExists, fileExists, fileSource, readJson, readTextFile } from './files.js';

/** What a checkpoint's weights may be called, in transformers' order of preference. */
const layouts = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
] as const;

async function openFile(path: string): Promise<Checkpoint> {
  const source = fileSource(path);
  try {
    return await (path.endsWith('.safetensors') ? openSafetensors(source) : openTorch(source));
  } catch (error) {
    source.dispose?.();
    throw error;
  }
}

/** The weights in a directory of Hugging Face's layout, or in one file. Throws WeightsError saying what was looked for. */
export async function openWeights(path: string): Promise<Checkpoint> {
  if (fileExists(path)) return openFile(path);
  const file = layouts.find((name) => fileExists(join(path, name)));
  if (!file) throw new WeightsError(`${path}: has no weights; looked for ${layouts.join(', ')}`);
  if (!file.endsWith('.index.json')) return openFile(join(path, file));
  const index = fileSource(join(path, file));
  try {
    return await openSharded(index, (shard) => openFile(join(path, shard)));
  } finally {
    index.dispose?.();
  }
}

/** `config.json` of a checkpoint directory. Throws InputError where there is none. */
export function readConfig(dir: string): unknown {
  if (!directoryExists(dir)) throw new InputError(`${dir}: there is no such checkpoint directory`);
  const config = readJson(dir, 'config.json');
  if (config === undefined) throw new InputError(`${dir}: is not a checkpoint: it has no config.json`);
  return config;
}

/**
 * How a checkpoint's pictures are prepared, and where that stands: in `processor_config.json`, where transformers 5 keeps it, or else in
 * `preprocessor_config.json`. Undefined where neither says so.
 */
export function readImageProcessor(dir: string): { readonly json: JsonObject; readonly where: string } | undefined {
  const whole = readJson(dir, 'processor_config.json');
  const nested = isObject(whole) ? whole['image_processor'] : undefined;
  if (nested !== undefined && nested !== null) {
    const where = `${dir}/processor_config.json: image_processor`;
    return { json: asObject(nested, where), where };
  }
  const where = `${dir}/preprocessor_config.json`;
  const json = readJson(dir, 'preprocessor_config.json');
  return json === undefined ? undefined : { json: asObject(json, where), where };
}

/** The tokenizer of a checkpoint directory, or undefined where it has none. */
export function readTokenizer(dir: string): Tokenizer | undefined {
  const files = {
    tokenizerJson: readJson(dir, 'tokenizer.json'),
    tokenizerConfig: readJson(dir, 'tokenizer_config.json'),
    vocabJson: readJson(dir, 'vocab.json'),
    mergesTxt: readTextFile(dir, 'merges.txt'),
    addedTokens: readJson(dir, 'added_tokens.json'),
    specialTokensMap: readJson(dir, 'special_tokens_map.json'),
  };
  if (files.tokenizerJson === undefined && files.vocabJson === undefined) return undefined;
  return createTokenizer(files);
}

/** The tokenizer of a SigLIP checkpoint, or undefined where it has none of that kind. */
export function readSiglipTokenizer(dir: string): Tokenizer | undefined {
  const spiece = join(dir, 'spiece.model');
  return createSiglipTokenizer({
    tokenizerJson: readJson(dir, 'tokenizer.json'),
    tokenizerConfig: readJson(dir, 'tokenizer_config.json'),
    spieceModel: fileExists(spiece) ? readFileSync(spiece) : undefined,
  });
}
