/** The pre-norm transformer encoder that CLIP's and SigLIP's towers share (transformers CLIPEncoder, SiglipEncoder). */
import { InputError } from '../core/errors.js';
import { countField, type JsonObject, numberField } from '../core/json.js';
import { normalInit, type Scope, type Value } from '../graph/builder.js';
import { add, reshape } from '../graph/functions.js';
import { type ActivationName, activationName } from '../nn/activation.js';
import { attention } from '../nn/attention.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear } from '../nn/linear.js';
import { mlp } from '../nn/mlp.js';

export interface EncoderConfig {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly mlpWidth: number;
  readonly activation: ActivationName;
  readonly epsilon: number;
}

/** An encoder's sizes from a `text_config` or `vision_config`; what is left out is `other`'s. */
export function encoderConfigFrom(json: JsonObject, where: string, other: EncoderConfig): EncoderConfig {
  const config: EncoderConfig = {
    width: countField(json, 'hidden_size', where, other.width),
    layers: countField(json, 'num_hidden_layers', where, other.layers),
    heads: countField(json, 'num_attention_heads', where, other.heads),
    mlpWidth: countField(json, 'intermediate_size', where, other.mlpWidth),
    activation: activationName(json['hidden_act'] ?? other.activation, `${where}: hidden_act`),
    epsilon: numberField(json, 'layer_norm_eps', where, other.epsilon),
  };
  if (config.width % config.heads !== 0) {
    throw new InputError(
      `${where}: hidden_size ${config.width} is not a multiple of num_attention_heads ${config.heads}`,
    );
  }
  return config;
}

/** Some rows [B, R, ..] of a value [B, T, ..]. */
export type RowPicker = (s: Scope, x: Value) => Value;

export interface LayersOptions {
  /** [B, 1, T, T]: masks. */
  readonly bias?: Value;
  /** The rows that are asked for: the last layer computes no other, as nothing comes after it. Default: every row. */
  readonly pick?: RowPicker;
}

/** `encoder.layers` of a tower over x [B, T, C], taps `hidden_states.0` to the last. Shape of x, or [B, R, C] of what is picked. */
export function encoderLayers(
  tower: Scope,
  x: Value,
  config: EncoderConfig,
  { bias, pick }: LayersOptions = {},
): Value {
  let h = tower.tap('hidden_states.0', x);
  for (let layer = 0; layer < config.layers; layer++) {
    const isLast = layer === config.layers - 1;
    const how = { ...(bias && { bias }), ...(isLast && pick && { pick }) };
    h = encoderLayer(tower.at('encoder').at('layers').at(layer), h, config, how);
    tower.tap(`hidden_states.${layer + 1}`, h);
  }
  return h;
}

/**
 * The same with a last layer where every position attends to itself alone: what stands in a place stays there (MaskCLIP, arXiv
 * 2112.01071, section 3.2).
 */
export function encoderLayersInPlace(tower: Scope, x: Value, config: EncoderConfig): Value {
  const last = config.layers - 1;
  const h = encoderLayers(tower, x, { ...config, layers: last });
  return encoderLayer(tower.at('encoder').at('layers').at(last), h, config, {}, ownValue);
}

function encoderLayer(
  s: Scope,
  x: Value,
  config: EncoderConfig,
  options: LayersOptions,
  attend: typeof selfAttention = selfAttention,
): Value {
  const attended = attend(s.at('self_attn'), layerNorm(s.at('layer_norm1'), x, config), config, options);
  const h = add(s, options.pick ? options.pick(s, x) : x, attended);
  return add(s, h, encoderMlp(s.at('mlp'), layerNorm(s.at('layer_norm2'), h, config), config));
}

/** Starting values are openai/CLIP's (model.py, initialize_parameters). */
function selfAttention(s: Scope, x: Value, config: EncoderConfig, { bias, pick }: LayersOptions): Value {
  const { width, heads, layers } = config;
  const init = normalInit(width ** -0.5);
  const asking = pick ? pick(s, x) : x;
  const project = (name: string, from: Value) => linear(s.at(name), from, width, { init });
  const [q, k, v] = [project('q_proj', asking), project('k_proj', x), project('v_proj', x)]; // [B, R, C], [B, T, C], [B, T, C]
  const seen = bias && pick ? pickBias(s, bias, pick) : bias;
  const mixed = attention(s, q, k, v, { heads, scale: (width / heads) ** -0.5, ...(seen && { bias: seen }) });
  return linear(s.at('out_proj'), mixed, width, { init: normalInit((2 * layers * width) ** -0.5) });
}

/** The rows of a bias [B, 1, T, T] that stand for the rows picked: [B, 1, R, T]. */
function pickBias(s: Scope, bias: Value, pick: RowPicker): Value {
  const [B, , T] = bias.shape;
  const rows = pick(s, reshape(s, bias, [B, T, T]));
  return reshape(s, rows, [B, 1, rows.shape[1], T]);
}

/** Attention of each position to itself alone. Shape of x. */
function ownValue(s: Scope, x: Value, { width }: EncoderConfig): Value {
  return linear(s.at('out_proj'), linear(s.at('v_proj'), x, width), width);
}

/** `fc1`, activation, `fc2`. Shape of x. */
export function encoderMlp(s: Scope, x: Value, { width, mlpWidth, activation }: EncoderConfig): Value {
  return mlp(s, x, { hidden: mlpWidth, activation, names: ['fc1', 'fc2'], init: normalInit((2 * width) ** -0.5) });
}
