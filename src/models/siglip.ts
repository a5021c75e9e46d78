/**
 * SigLIP (arXiv 2303.15343; transformers/models/siglip/modeling_siglip.py), where it differs from CLIP: no class row but an
 * attention head with a learned query, a text tower without a mask that is pooled at its last position, a bias on the logits.
 */
import { InputError } from '../core/errors.js';
import { asObject, booleanField } from '../core/json.js';
import { normalInit, type Scope, type Value, zerosInit } from '../graph/builder.js';
import { add, broadcastBatch, matMulTransposed, mul, reshape, split } from '../graph/functions.js';
import { attention } from '../nn/attention.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear, linearWith } from '../nn/linear.js';
import {
  gridPositions,
  logitFactor,
  patchesOf,
  pooledText,
  type TextInputs,
  type TextTowerConfig,
  type TowerExtent,
  textTowerFrom,
  towerJson,
  type VisionTowerConfig,
  visionTowerFrom,
} from './clip.js';
import { encoderLayers, encoderMlp } from './transformer-encoder.js';

export interface SiglipConfig {
  readonly family: 'siglip';
  readonly text: TextTowerConfig;
  readonly vision: VisionTowerConfig;
  readonly embedWidth: number;
}

const encoder = {
  width: 768,
  layers: 12,
  heads: 12,
  mlpWidth: 3072,
  activation: 'gelu_pytorch_tanh',
  epsilon: 1e-6,
} as const;

/** google/siglip-base-patch16-224. */
export const siglipB16: SiglipConfig = {
  family: 'siglip',
  text: { ...encoder, vocabSize: 32000, maxPositions: 64, endId: undefined },
  vision: { ...encoder, imageSize: 224, patchSize: 16, stem: [], channels: 3 },
  embedWidth: 768,
};

/** Sizes of both towers from a `config.json`; defaults are transformers' SiglipConfig's. */
export function siglipConfigFrom(value: unknown, where: string): SiglipConfig {
  const json = asObject(value, where);
  const textJson = towerJson(json, 'text_config', where);
  const text = textTowerFrom(textJson, where, siglipB16.text);
  const visionJson = towerJson(json, 'vision_config', where);
  const vision = visionTowerFrom(visionJson, where, siglipB16.vision);
  if (!booleanField(visionJson, 'vision_use_head', `${where}: vision_config`, true)) {
    throw new InputError(
      `${where}: vision_config: vision_use_head is false: without its head the tower makes no embedding`,
    );
  }
  const projected = textJson['projection_size'] ?? text.width;
  if (projected !== vision.width) {
    const [got, expected] = [JSON.stringify(projected), vision.width];
    throw new InputError(
      `${where}: text_config: projection_size (default hidden_size): expected vision_config's hidden_size ${expected}, got ${got}`,
    );
  }
  return { family: 'siglip', text, vision, embedWidth: vision.width };
}

/** Texts in the common space, not yet of unit length: [B, C]. */
export function siglipText(
  root: Scope,
  inputs: Omit<TextInputs, 'bias'>,
  config: SiglipConfig,
  extent: TowerExtent,
): Value {
  const s = root.at('text_model');
  const pooled = pooledText(s, inputs, config.text, extent);
  return root.tap('text_features', linear(s.at('head'), pooled, config.embedWidth));
}

/** Images [B, 3, H, W] in the common space, not yet of unit length: [B, C]. */
export function siglipVision(root: Scope, pixels: Value, config: SiglipConfig): Value {
  const s = root.at('vision_model');
  const hidden = encoderLayers(s, embedPatches(s.at('embeddings'), pixels, config.vision), config.vision);
  const last = s.tap('last_hidden_state', layerNorm(s.at('post_layernorm'), hidden, config.vision));
  return root.tap('image_features', poolingHead(s.at('head'), last, config.vision));
}

/**
 * Every patch of images [B, 3, H, W] by itself in the common space, not yet of unit length: [B, h·w, C]. It is what the head gives
 * for one patch alone.
 */
export function siglipPatches(root: Scope, pixels: Value, config: SiglipConfig): Value {
  const s = root.at('vision_model');
  const hidden = encoderLayers(s, embedPatches(s.at('embeddings'), pixels, config.vision), config.vision);
  const last = layerNorm(s.at('post_layernorm'), hidden, config.vision);
  const [head, at] = [s.at('head'), s.at('head').at('attention')];
  const { weights, biases } = headProjections(at, config.vision.width);
  // One key: the softmax is 1, and attention gives its value.
  return headOutput(head, linearWith(at, last, weights[2], biases[2]), config.vision);
}

function embedPatches(s: Scope, pixels: Value, config: VisionTowerConfig): Value {
  const { width, patchSize, imageSize } = config;
  const patches = patchesOf(s, pixels, config, true);
  const [B, h, w] = [patches.shape[0], Number(patches.shape[1]), Number(patches.shape[2])];
  const side = Math.floor(imageSize / patchSize);
  const table = s.at('position_embedding').parameter('weight', [side * side, width], normalInit(0.02));
  return add(s, reshape(s, patches, [B, h * w, width]), gridPositions(s, table, side, [h, w]));
}

/** One learned query over all patches [B, T, C], then a layer's second half: [B, C]. */
function poolingHead(s: Scope, x: Value, config: VisionTowerConfig): Value {
  const { width, heads } = config;
  const at = s.at('attention');
  const { weights, biases } = headProjections(at, width);
  const probe = broadcastBatch(s, s.parameter('probe', [1, 1, width], normalInit(0.02)), x); // [B, 1, C]
  const [q, k, v] = [probe, x, x].map((input, i) => linearWith(at, input, weights[i], biases[i]));
  const mixed = attention(at, q, k, v, { heads, scale: (width / heads) ** -0.5 }); // [B, 1, C]
  return reshape(s, headOutput(s, mixed, config), [x.shape[0], width]);
}

/** The projections to q, k and v, which are stored as one. */
function headProjections(at: Scope, width: number) {
  const thirds = [width, width, width];
  return {
    weights: split(at, at.parameter('in_proj_weight', [3 * width, width], normalInit(0.02)), thirds, 0),
    biases: split(at, at.parameter('in_proj_bias', [3 * width], zerosInit), thirds, 0),
  };
}

/** What follows the head's attention. Shape of `mixed`. */
function headOutput(s: Scope, mixed: Value, config: VisionTowerConfig): Value {
  const pooled = linear(s.at('attention').at('out_proj'), mixed, config.width);
  return add(s, pooled, encoderMlp(s.at('mlp'), layerNorm(s.at('layernorm'), pooled, config), config));
}

/** Similarities of unit vectors [N, E] and [M, E], scaled and shifted: [N, M]. */
export function siglipLogits(root: Scope, images: Value, texts: Value): Value {
  const scaled = mul(root, matMulTransposed(root, images, texts), logitFactor(root, [1], Math.log(10)));
  return add(root, scaled, root.parameter('logit_bias', [1], { kind: 'constant', value: -10 }));
}
