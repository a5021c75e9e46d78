/** The pre-norm transformer encoder that CLIP's and SigLIP's towers share (transformers CLIPEncoder, SiglipEncoder). */
import { InputError } from '../core/errors.js';
import { countField, type JsonObject, numberField } from '../core/json.js';
import { normalInit, type Scope, type Value } from '../graph/builder.js';
import { add } from '../graph/functions.js';
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

/** `encoder.layers` of a tower over x [B, T, C], taps `hidden_states.0` to the last; `bias` [B, 1, T, T] masks. Shape of x. */
export function encoderLayers(tower: Scope, x: Value, config: EncoderConfig, bias?: Value): Value {
  let h = tower.tap('hidden_states.0', x);
  for (let layer = 0; layer < config.layers; layer++) {
    h = encoderLayer(tower.at('encoder').at('layers').at(layer), h, config, bias);
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
  return encoderLayer(tower.at('encoder').at('layers').at(last), h, config, undefined, ownValue);
}

function encoderLayer(
  s: Scope,
  x: Value,
  config: EncoderConfig,
  bias: Value | undefined,
  attend: typeof selfAttention = selfAttention,
): Value {
  const h = add(s, x, attend(s.at('self_attn'), layerNorm(s.at('layer_norm1'), x, config), config, bias));
  return add(s, h, encoderMlp(s.at('mlp'), layerNorm(s.at('layer_norm2'), h, config), config));
}

/** Starting values are openai/CLIP's (model.py, initialize_parameters). */
function selfAttention(s: Scope, x: Value, { width, heads, layers }: EncoderConfig, bias: Value | undefined): Value {
  const init = normalInit(width ** -0.5);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => linear(s.at(name), x, width, { init })); // [B, T, C] each
  const mixed = attention(s, q, k, v, { heads, scale: (width / heads) ** -0.5, ...(bias && { bias }) });
  return linear(s.at('out_proj'), mixed, width, { init: normalInit((2 * layers * width) ** -0.5) });
}

/** Attention of each position to itself alone. Shape of x. */
function ownValue(s: Scope, x: Value, { width }: EncoderConfig): Value {
  return linear(s.at('out_proj'), linear(s.at('v_proj'), x, width), width);
}

/** `fc1`, activation, `fc2`. Shape of x. */
export function encoderMlp(s: Scope, x: Value, { width, mlpWidth, activation }: EncoderConfig): Value {
  return mlp(s, x, { hidden: mlpWidth, activation, names: ['fc1', 'fc2'], init: normalInit((2 * width) ** -0.5) });
}
