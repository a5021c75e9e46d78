/**
 * Vary-tiny (arXiv 2312.06109; vary/model/vary_opt.py): image tokens of the tower, projected, take the places after each
 * <img> among OPT's token embeddings.
 */
import { InputError } from '../core/errors.js';
import { asObject, countField, indexField } from '../core/json.js';
import type { Scope, Value } from '../graph/builder.js';
import { multiplyDims } from '../graph/dims.js';
import { concat, gather, reshape } from '../graph/functions.js';
import { linear } from '../nn/linear.js';
import type { DraftConfig } from './draft.js';
import { type OptConfig, opt125m, optConfigFrom, renameOptTensor } from './opt.js';
import { type SamConfig, samConfigFrom, samTokens, samVitB } from './sam.js';

export interface ImageTokenIds {
  /** <img>, </img> and the <imgpad> between them. */
  readonly start: number;
  readonly end: number;
  readonly patch: number;
  /** <imgpad>s per image; of one that is narrower than the tower's input `imageTokensAt`. */
  readonly count: number;
}

export interface VaryConfig {
  readonly decoder: OptConfig;
  readonly tower: SamConfig;
  readonly imageTokens: ImageTokenIds;
  /** What an image is: a page scaled to the tower's input, or one line of text, for which pages are cut. */
  readonly input: 'page' | 'line';
  /** Of a tower that drafts the text of its lines. */
  readonly draft?: DraftConfig;
}

/** The released model's sizes. */
export const varyTiny: VaryConfig = {
  decoder: opt125m,
  tower: samVitB,
  imageTokens: { patch: 50265, start: 50266, end: 50267, count: 256 },
  input: 'page',
};

/**
 * The built-in reader's sizes: one line of text, 32 pixels high, is seen in up to 48 columns and becomes as many tokens from left to
 * right, each of which drafts two characters. Its vocabulary is the 256 bytes.
 */
export const varyNano: VaryConfig = {
  decoder: {
    ...opt125m,
    vocabSize: 263,
    width: 192,
    embedWidth: 192,
    layers: 3,
    heads: 6,
    mlpWidth: 768,
    maxPositions: 192,
  },
  tower: {
    ...samVitB,
    imageSize: [32, 384],
    patchSize: [32, 8],
    stem: [32, 64],
    width: 192,
    depth: 4,
    heads: 6,
    windowSize: 0,
    globalBlocks: [],
    neckChannels: 128,
    netChannels: [192, 256],
    netStrides: [
      [1, 1],
      [1, 1],
    ],
    widthStep: 32,
  },
  draft: { columnsPerToken: 2 },
  imageTokens: { patch: 260, start: 261, end: 262, count: 48 },
  input: 'line',
};

/** Where the tower's tensors live: `vision_tower` in the seed, this in checkpoints. */
export const towerPath = 'model.vision_tower_2';

/** Sizes from a `config.json` of model_type vary. Throws InputError where tower and image_token_len disagree. */
export function varyConfigFrom(value: unknown, where: string): VaryConfig {
  const json = asObject(value, where);
  const tower = samConfigFrom(json['vary_tower'], `${where}: vary_tower`);
  const count = indexField(json, 'image_token_len', where, samTokens(tower));
  if (count !== samTokens(tower)) {
    throw new InputError(`${where}: image_token_len is ${count}, but the tower makes ${samTokens(tower)} tokens`);
  }
  const { imageTokens } = varyTiny;
  const config: VaryConfig = {
    decoder: optConfigFrom(json, where),
    tower,
    imageTokens: {
      patch: indexField(json, 'im_patch_token', where, imageTokens.patch),
      start: indexField(json, 'im_start_token', where, imageTokens.start),
      end: indexField(json, 'im_end_token', where, imageTokens.end),
      count,
    },
    input: inputField(json['vary_input'], where),
    ...draftField(json['vary_draft'], `${where}: vary_draft`),
  };
  const { padId, vocabSize } = config.decoder;
  if (config.draft && (padId === null || padId >= vocabSize)) {
    throw new InputError(
      `${where}: pad_token_id: drafts have it for nothing, expected an id below ${vocabSize}, got ${padId}`,
    );
  }
  if (config.decoder.embedWidth !== config.decoder.width) {
    throw new InputError(`${where}: word_embed_proj_dim must equal hidden_size in a vary checkpoint`);
  }
  return config;
}

function inputField(value: unknown, where: string): VaryConfig['input'] {
  if (value === undefined || value === 'page' || value === 'line') return value ?? 'page';
  throw new InputError(`${where}: vary_input: expected page or line, got ${JSON.stringify(value)}`);
}

/** The same model that reads without drafts: for weights of which their head is not one, as in training. */
export const withoutDraft = ({ draft: _, ...config }: VaryConfig): VaryConfig => config;

function draftField(value: unknown, where: string): Pick<VaryConfig, 'draft'> {
  if (value === undefined) return {};
  return { draft: { columnsPerToken: countField(asObject(value, where), 'columns_per_token', where) } };
}

/** The checkpoint's name for one of ours. */
export function renameVaryTensor(name: string): string {
  return renameOptTensor(name.replace(/^model\.vision_tower\./, `${towerPath}.`));
}

/** The tokens of an image that the tower sees as wide as this, in pixels. */
export const imageTokensAt = ({ imageTokens, tower }: VaryConfig, width: number): ImageTokenIds =>
  tower.widthStep === 0 ? imageTokens : { ...imageTokens, count: samTokens(tower, width) };

/** A prompt for images as wide as the tower's input, for images of another `count`. */
export const withImageTokens = (ids: readonly number[], { patch, count }: ImageTokenIds): number[] => {
  let pads = 0;
  return ids.filter((id) => {
    pads = id === patch ? pads + 1 : 0;
    return pads <= count;
  });
};

/** Tower tokens [B, T, C] into the decoder's width: [B, T, width]. */
export function projectImages(s: Scope, tokens: Value, { decoder }: VaryConfig): Value {
  return s.tap('image_features', linear(s.at('model').at('mm_projector'), tokens, decoder.width));
}

/**
 * Embeddings [B, T, C] with image features [R, C] put in their places: `source` int64 [B, T] says for each position which row
 * of (embeddings, then features) it takes. See `spliceSources`.
 */
export function spliceImages(s: Scope, embeds: Value, features: Value, source: Value): Value {
  const [B, T, C] = embeds.shape;
  const all = concat(s, [reshape(s, embeds, [multiplyDims(B, T), C]), features], 0);
  return s.tap('inputs_embeds', gather(s, all, source));
}

/**
 * For each position of ids [B][T] the row it takes in `spliceImages`, images in order of their <img>. A row without any
 * <imgpad> is left alone, as the reference does. Throws InputError where <img> and </img> do not match.
 */
export function spliceSources(rows: readonly (readonly number[])[], ids: ImageTokenIds, images: number): number[][] {
  let image = 0;
  const positions = rows.length * (rows[0]?.length ?? 0);
  const sources = rows.map((row, r) => {
    const source = row.map((_, t) => r * row.length + t);
    if (!row.includes(ids.patch)) return source;
    const starts = row.flatMap((id, t) => (id === ids.start ? [t] : []));
    const ends = row.filter((id) => id === ids.end).length;
    if (starts.length !== ends) {
      throw new InputError(`row ${r}: ${starts.length} <img> but ${ends} </img>; each image needs one of both`);
    }
    for (const start of starts) {
      if (row[start + ids.count + 1] !== ids.end) {
        throw new InputError(`row ${r}: </img> must follow <img> at ${start} after ${ids.count} places`);
      }
      for (let i = 0; i < ids.count; i++) source[start + 1 + i] = positions + image * ids.count + i;
      image++;
    }
    return source;
  });
  if (image !== images) throw new InputError(`the prompt has ${image} images, ${images} were given`);
  return sources;
}
