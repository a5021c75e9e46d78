/**
 * CLIP (arXiv 2103.00020; transformers/models/clip/modeling_clip.py): an image tower and a text tower into one space. The
 * checkpoint's `pre_layrnorm` is spelled so.
 */
import { InputError } from '../core/errors.js';
import { asObject, countField, indexField, isObject, type JsonObject, numberField } from '../core/json.js';
import { normalInit, type Scope, type Value } from '../graph/builder.js';
import { add, broadcastBatch, concat, matMulTransposed, mul, pickRows, reshape, slice } from '../graph/functions.js';
import { embedding } from '../nn/embedding.js';
import { interpolateGrid } from '../nn/interpolate.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear } from '../nn/linear.js';
import { patchEmbed } from '../nn/patch-embed.js';
import { convStem, stemFrom, stemStride } from './conv-stem.js';
import {
  type EncoderConfig,
  encoderConfigFrom,
  encoderLayers,
  encoderLayersInPlace,
  type RowPicker,
} from './transformer-encoder.js';

export interface TextTowerConfig extends EncoderConfig {
  readonly vocabSize: number;
  readonly maxPositions: number;
  /** Where a text is pooled: at the first of this id; undefined: at the highest id (OpenAI's checkpoints). */
  readonly endId: number | undefined;
}

export interface VisionTowerConfig extends EncoderConfig {
  /** Side in pixels that the positions were learned for. */
  readonly imageSize: number;
  readonly patchSize: number;
  /** Channels of the convolutions before the patches; published CLIPs have none. `patchSize` stays in pixels of the input. */
  readonly stem: readonly number[];
  readonly channels: number;
}

export interface ClipConfig {
  readonly family: 'clip';
  readonly text: TextTowerConfig;
  readonly vision: VisionTowerConfig;
  /** Width of the common space. */
  readonly embedWidth: number;
  /** The logarithm of the factor of the similarities, when it is not loaded. */
  readonly logitScale: number;
}

/** openai/clip-vit-base-patch32. */
export const clipVitB32: ClipConfig = {
  family: 'clip',
  text: {
    width: 512,
    layers: 12,
    heads: 8,
    mlpWidth: 2048,
    activation: 'quick_gelu',
    epsilon: 1e-5,
    vocabSize: 49408,
    maxPositions: 77,
    endId: undefined,
  },
  vision: {
    width: 768,
    layers: 12,
    heads: 12,
    mlpWidth: 3072,
    activation: 'quick_gelu',
    epsilon: 1e-5,
    imageSize: 224,
    patchSize: 32,
    stem: [],
    channels: 3,
  },
  embedWidth: 512,
  logitScale: 2.6592,
};

/** openai/clip-vit-large-patch14. */
export const clipVitL14: ClipConfig = {
  family: 'clip',
  text: { ...clipVitB32.text, width: 768, heads: 12, mlpWidth: 3072 },
  vision: { ...clipVitB32.vision, width: 1024, layers: 24, heads: 16, mlpWidth: 4096, patchSize: 14 },
  embedWidth: 768,
  logitScale: clipVitB32.logitScale,
};

/** The built-in small one: pictures of 48 pixels. */
export const clipNano: ClipConfig = {
  family: 'clip',
  text: {
    width: 128,
    layers: 2,
    heads: 4,
    mlpWidth: 512,
    activation: 'gelu',
    epsilon: 1e-5,
    vocabSize: 3586,
    maxPositions: 24,
    endId: 3585,
  },
  vision: {
    width: 128,
    layers: 3,
    heads: 4,
    mlpWidth: 512,
    activation: 'gelu',
    epsilon: 1e-5,
    imageSize: 48,
    patchSize: 8,
    stem: [32, 64, 128],
    channels: 3,
  },
  embedWidth: 128,
  logitScale: 2.6592,
};

/** What `eos_token_id` is in configs whose end-of-text token has another id (transformers, CLIPTextTransformer). */
const legacyEndId = 2;
const endOfText = 49407;

/** A tower's block. Older configs repeat it as `*_config_dict`, which counts where they differ (transformers, CLIPConfig). */
export function towerJson(json: JsonObject, name: 'text_config' | 'vision_config', where: string): JsonObject {
  const later = json[`${name}_dict`];
  const block = json[name] === undefined || json[name] === null ? {} : asObject(json[name], `${where}: ${name}`);
  return isObject(later) ? { ...block, ...later } : block;
}

/** Sizes of both towers from a `config.json`; defaults are transformers' CLIPConfig's. */
export function clipConfigFrom(value: unknown, where: string): ClipConfig {
  const json = asObject(value, where);
  const text = towerJson(json, 'text_config', where);
  const vision = towerJson(json, 'vision_config', where);
  const endId = indexField(text, 'eos_token_id', `${where}: text_config`, endOfText);
  return {
    family: 'clip',
    text: { ...textTowerFrom(text, where, clipVitB32.text), endId: endId === legacyEndId ? undefined : endId },
    vision: visionTowerFrom(vision, where, clipVitB32.vision),
    embedWidth: countField(json, 'projection_dim', where, clipVitB32.embedWidth),
    logitScale: numberField(json, 'logit_scale_init_value', where, clipVitB32.logitScale),
  };
}

/** The `config.json` that says what `clipConfigFrom` reads. */
export function clipConfigJson({ text, vision, embedWidth, logitScale }: ClipConfig): JsonObject {
  const encoder = ({ width, layers, heads, mlpWidth, activation, epsilon }: EncoderConfig) => ({
    hidden_size: width,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: mlpWidth,
    hidden_act: activation,
    layer_norm_eps: epsilon,
    projection_dim: embedWidth,
  });
  return {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    projection_dim: embedWidth,
    logit_scale_init_value: logitScale,
    text_config: {
      model_type: 'clip_text_model',
      ...encoder(text),
      vocab_size: text.vocabSize,
      max_position_embeddings: text.maxPositions,
      ...(text.endId !== undefined && {
        bos_token_id: text.endId - 1,
        eos_token_id: text.endId,
        pad_token_id: text.endId,
      }),
    },
    vision_config: {
      model_type: 'clip_vision_model',
      ...encoder(vision),
      image_size: vision.imageSize,
      patch_size: vision.patchSize,
      ...(vision.stem.length > 0 && { stem: vision.stem }),
      num_channels: vision.channels,
    },
    torch_dtype: 'float32',
  };
}

/** A text tower's sizes; the place of pooling is the family's. */
export function textTowerFrom(json: JsonObject, where: string, other: TextTowerConfig): TextTowerConfig {
  const at = `${where}: text_config`;
  return {
    ...encoderConfigFrom(json, at, other),
    vocabSize: countField(json, 'vocab_size', at, other.vocabSize),
    maxPositions: countField(json, 'max_position_embeddings', at, other.maxPositions),
    endId: other.endId,
  };
}

export function visionTowerFrom(json: JsonObject, where: string, other: VisionTowerConfig): VisionTowerConfig {
  const at = `${where}: vision_config`;
  const patchSize = countField(json, 'patch_size', at, other.patchSize);
  const config: VisionTowerConfig = {
    ...encoderConfigFrom(json, at, other),
    imageSize: countField(json, 'image_size', at, other.imageSize),
    patchSize,
    stem: stemFrom(json, [patchSize], at),
    channels: countField(json, 'num_channels', at, other.channels),
  };
  if (config.patchSize > config.imageSize) {
    throw new InputError(`${at}: patch_size ${config.patchSize} is larger than image_size ${config.imageSize}`);
  }
  return config;
}

/** Buffers of older checkpoints that are no weights. */
export const isPositionIds = (name: string): boolean => name.endsWith('.embeddings.position_ids');

/** What both text towers read: ids [B, T], rows of the position table [T]. */
export function embedText(tower: Scope, ids: Value, positions: Value, config: TextTowerConfig): Value {
  const s = tower.at('embeddings');
  const tokens = embedding(s.at('token_embedding'), ids, config.vocabSize, config.width); // [B, T, C]
  return add(s, tokens, embedding(s.at('position_embedding'), positions, config.maxPositions, config.width));
}

/** The positions of a patch grid, fitted to another one where the image has another size: [1, h·w, C]. */
export function gridPositions(s: Scope, table: Value, side: number, [h, w]: readonly [number, number]): Value {
  const C = Number(table.shape[1]);
  return reshape(s, interpolateGrid(s, reshape(s, table, [side, side, C]), [h, w]), [1, h * w, C]);
}

export interface TextInputs {
  /** int64 [B, T]. */
  readonly ids: Value;
  /** int64 [T]: 0, 1, … */
  readonly positions: Value;
  /** int64 [B]: the flat place in B·T where each text is pooled. */
  readonly ends: Value;
  /** [B, 1, T, T]: causal, and padding where it is masked. */
  readonly bias: Value;
}

const projection = ({ width }: EncoderConfig) => ({ bias: false, init: normalInit(width ** -0.5) });

/**
 * How much of a tower's last layer is computed: what its embedding needs, or every position, whose `last_hidden_state` is a tap then.
 */
export type TowerExtent = 'pooled' | 'whole';

/** Texts in the common space, not yet of unit length: [B, embedWidth]. */
export function clipText(root: Scope, inputs: TextInputs, config: ClipConfig, extent: TowerExtent): Value {
  const pooled = pooledText(root.at('text_model'), inputs, config.text, extent);
  return root.tap(
    'text_features',
    linear(root.at('text_projection'), pooled, config.embedWidth, projection(config.text)),
  );
}

/** Texts after the last layer and its norm, each where it is pooled: [B, C]. */
export function pooledText(
  s: Scope,
  { ids, positions, ends, bias }: Omit<TextInputs, 'bias'> & Partial<Pick<TextInputs, 'bias'>>,
  config: TextTowerConfig,
  extent: TowerExtent,
): Value {
  const pick: RowPicker = (at, x) => reshape(at, pickRows(at, x, ends), [x.shape[0], 1, x.shape[2]]);
  const options = { ...(bias && { bias }), ...(extent === 'pooled' && { pick }) };
  const hidden = encoderLayers(s, embedText(s, ids, positions, config), config, options);
  const last = layerNorm(s.at('final_layer_norm'), hidden, config);
  if (extent === 'pooled') return reshape(s, last, [last.shape[0], config.width]);
  return pickRows(s, s.tap('last_hidden_state', last), ends);
}

/** Images [B, 3, H, W] in the common space, not yet of unit length: [B, embedWidth]. */
export function clipVision(root: Scope, pixels: Value, config: ClipConfig, extent: TowerExtent): Value {
  const s = root.at('vision_model');
  const { width, epsilon } = config.vision;
  const x = layerNorm(s.at('pre_layrnorm'), embedPatches(s.at('embeddings'), pixels, config.vision), { epsilon });
  const classRow: RowPicker = (at, value) => slice(at, value, 1, 0, 1);
  const first =
    extent === 'pooled'
      ? encoderLayers(s, x, config.vision, { pick: classRow })
      : classRow(s, s.tap('last_hidden_state', encoderLayers(s, x, config.vision)));
  const pooled = layerNorm(s.at('post_layernorm'), reshape(s, first, [first.shape[0], width]), { epsilon });
  return root.tap(
    'image_features',
    linear(root.at('visual_projection'), pooled, config.embedWidth, projection(config.vision)),
  );
}

/** Every patch of images [B, 3, H, W] by itself in the common space, not yet of unit length: [B, h·w, embedWidth]. */
export function clipPatches(root: Scope, pixels: Value, config: ClipConfig): Value {
  const s = root.at('vision_model');
  const { epsilon } = config.vision;
  const x = layerNorm(s.at('pre_layrnorm'), embedPatches(s.at('embeddings'), pixels, config.vision), { epsilon });
  const last = encoderLayersInPlace(s, x, config.vision);
  const patches = slice(s, last, 1, 1, Number(last.shape[1])); // without the class row
  const placed = layerNorm(s.at('post_layernorm'), patches, { epsilon });
  return linear(root.at('visual_projection'), placed, config.embedWidth, { bias: false });
}

/** Patches of pixels [B, 3, H, W] through the stem and one linear layer: [B, h, w, C]. */
export function patchesOf(
  s: Scope,
  pixels: Value,
  { width, patchSize, stem }: VisionTowerConfig,
  bias: boolean,
): Value {
  const side = patchSize / stemStride(stem);
  const planes = convStem(s.at('stem'), pixels, stem);
  return patchEmbed(s, s.at('patch_embedding'), planes, { width, patchSize: [side, side], bias });
}

/** The class row, then the patches, with their positions: [B, 1 + h·w, C]. */
function embedPatches(s: Scope, pixels: Value, config: VisionTowerConfig): Value {
  const { width, patchSize, imageSize } = config;
  const side = Math.floor(imageSize / patchSize);
  const table = s.at('position_embedding').parameter('weight', [side * side + 1, width], normalInit(width ** -0.5));
  const patches = patchesOf(s, pixels, config, false);
  const [B, h, w] = patches.shape;
  const grid = gridPositions(s, slice(s, table, 0, 1, side * side + 1), side, [Number(h), Number(w)]);
  const placed = add(s, reshape(s, patches, [B, Number(h) * Number(w), width]), grid);
  const classRow = reshape(s, s.parameter('class_embedding', [width], normalInit(width ** -0.5)), [1, width]);
  const first = reshape(s, add(s, classRow, slice(s, table, 0, 0, 1)), [1, 1, width]);
  return concat(s, [broadcastBatch(s, first, placed), placed], 1);
}

/** The factor of the similarities: a scalar. */
export function logitFactor(root: Scope, shape: readonly number[], init: number): Value {
  return root.op('Exp', [root.parameter('logit_scale', shape, { kind: 'constant', value: init })], {});
}

/** Similarities of unit vectors [N, E] and [M, E], scaled: [N, M]. */
export function clipLogits(root: Scope, images: Value, texts: Value, { logitScale }: ClipConfig): Value {
  return mul(root, matMulTransposed(root, images, texts), logitFactor(root, [], logitScale));
}

/** Where each row of ids [B][T] is pooled, as flat places in B·T. A row without the end token is pooled at its start. */
export function poolingPlaces(rows: readonly (readonly number[])[], endId: number | undefined): number[] {
  return rows.map((row, r) => {
    const at = endId === undefined ? row.indexOf(Math.max(...row)) : Math.max(0, row.indexOf(endId));
    return r * row.length + at;
  });
}
