/**
 * OPT (arXiv 2205.01068; transformers/models/opt/modeling_opt.py): a causal decoder with learned positions (offset 2), pre- or
 * post-norm. LayerNorm's epsilon is torch's default and in no config.
 */
import { InputError } from '../core/errors.js';
import { asObject, booleanField, countField, indexField, type JsonObject, numberField } from '../core/json.js';
import { floats, ints } from '../core/tensor.js';
import { type GraphBuilder, type Init, normalInit, type Scope, type Value } from '../graph/builder.js';
import { add, pickRows, reshape } from '../graph/functions.js';
import { type ActivationName, activationName } from '../nn/activation.js';
import { type AttentionOptions, attention, cachedAttention, cacheHeadSize } from '../nn/attention.js';
import { embedding } from '../nn/embedding.js';
import { layerNorm } from '../nn/layer-norm.js';
import { linear, linearWith } from '../nn/linear.js';
import { mlp } from '../nn/mlp.js';
import { delicate, isQuantized, quantizedProduct } from '../nn/quantized.js';

export interface OptConfig {
  readonly vocabSize: number;
  readonly width: number;
  /** Width of the token embeddings; projected in and out where it differs from `width`. */
  readonly embedWidth: number;
  readonly layers: number;
  readonly heads: number;
  readonly mlpWidth: number;
  readonly maxPositions: number;
  readonly activation: ActivationName;
  readonly preNorm: boolean;
  readonly finalNorm: boolean;
  readonly bias: boolean;
  readonly affineNorm: boolean;
  readonly tiedHead: boolean;
  readonly initStd: number;
  readonly bosId: number | null;
  /** Ids each of which ends a text. */
  readonly eosIds: readonly number[];
  /** null: nothing is for padding. */
  readonly padId: number | null;
}

/** facebook/opt-125m with Vary's vocabulary. */
export const opt125m: OptConfig = {
  vocabSize: 50268,
  width: 768,
  embedWidth: 768,
  layers: 12,
  heads: 12,
  mlpWidth: 3072,
  maxPositions: 4096,
  activation: 'relu',
  preNorm: true,
  finalNorm: true,
  bias: true,
  affineNorm: true,
  tiedHead: true,
  initStd: 0.02,
  bosId: 2,
  eosIds: [2],
  padId: 1,
};

/** Rows of the position table before the first position. */
const positionOffset = 2;
const epsilon = 1e-5;

/** A decoder's sizes from `config.json`; defaults are transformers' OPTConfig's. */
export function optConfigFrom(value: unknown, where: string): OptConfig {
  const json = asObject(value, where);
  const width = countField(json, 'hidden_size', where, 768);
  const eosIds = endIdsFrom(json, where);
  const config: OptConfig = {
    vocabSize: countField(json, 'vocab_size', where, 50272),
    width,
    embedWidth: json['word_embed_proj_dim'] === null ? width : countField(json, 'word_embed_proj_dim', where, width),
    layers: countField(json, 'num_hidden_layers', where, 12),
    heads: countField(json, 'num_attention_heads', where, 12),
    mlpWidth: countField(json, 'ffn_dim', where, 3072),
    maxPositions: countField(json, 'max_position_embeddings', where, 2048),
    activation: activationName(json['activation_function'] ?? 'relu', `${where}: activation_function`),
    preNorm: booleanField(json, 'do_layer_norm_before', where, true),
    finalNorm:
      booleanField(json, 'do_layer_norm_before', where, true) &&
      !booleanField(json, '_remove_final_layer_norm', where, false),
    bias: booleanField(json, 'enable_bias', where, true),
    affineNorm: booleanField(json, 'layer_norm_elementwise_affine', where, true),
    tiedHead: booleanField(json, 'tie_word_embeddings', where, true),
    initStd: numberField(json, 'init_std', where, 0.02),
    bosId: isNone(json['bos_token_id']) ? null : indexField(json, 'bos_token_id', where, 2),
    eosIds,
    padId: isNone(json['pad_token_id']) ? null : indexField(json, 'pad_token_id', where, 1),
  };
  if (config.width % config.heads !== 0) {
    throw new InputError(`${where}: hidden_size ${width} is not a multiple of num_attention_heads ${config.heads}`);
  }
  return config;
}

/** How configs say that there is no such token. */
const isNone = (id: unknown): boolean => id === null || id === -1;

/** What rows are filled up with: nothing looks at it. */
export const fillerId = ({ padId, eosIds }: Pick<OptConfig, 'padId' | 'eosIds'>): number => padId ?? eosIds[0] ?? 0;

/** `eos_token_id`: one id, several, or none. */
function endIdsFrom(json: JsonObject, where: string): readonly number[] {
  const name = 'eos_token_id';
  const value = json[name];
  if (isNone(value)) return [];
  return Array.isArray(value)
    ? value.map((_, i) => indexField({ [name]: value[i] }, name, where))
    : [indexField(json, name, where, 2)];
}

/** The checkpoint's name for one of ours: base models are saved without `model.`. */
export function renameOptTensor(name: string): string {
  return name.startsWith('decoder.') ? `model.${name}` : name;
}

/** How a call sees the other positions. */
export type Context =
  /** Every position at once; `bias` [B, 1, T, T] masks. */
  | { readonly kind: 'whole'; readonly bias: Value }
  /** The kernel's cache, carried by the graph under `past.<layer>.key` and `.value`. */
  | { readonly kind: 'cached'; readonly builder: GraphBuilder; readonly lastIndex: Value; readonly totalLength: Value };

/** The causal and padding mask as a bias: keys [B, T] may be seen by queries at or after them; padding keys lie past all. */
export function causalBias(s: Scope, queryIndex: Value, keyIndex: Value): Value {
  const [B, T] = queryIndex.shape;
  const keys = reshape(s, keyIndex, [B, 1, T]);
  const queries = reshape(s, queryIndex, [B, T, 1]);
  const seen = s.op('LessOrEqual', [keys, queries], {}); // [B, T, T]
  const masked = s.op('Where', [seen, s.constant(floats([], [0])), s.constant(floats([], [-3.4028235e38]))], {});
  return s.op('Reshape', [masked], { shape: [B, 1, T, T] });
}

/** Embeddings [B, T, E] of ids [B, T] that teach the pad id's row nothing, as torch's `padding_idx`; as a tied head it still learns. */
export function unlearnedPadding(s: Scope, embeds: Value, ids: Value, { padId }: OptConfig): Value {
  if (padId === null) return embeds;
  const [B, T] = ids.shape;
  const isPad = s.op('Equal', [ids, s.constant(ints([1, 1], [padId]))], {});
  return s.op('Where', [reshape(s, isPad, [B, T, 1]), s.op('Identity', [embeds], {}), embeds], {});
}

/** Token embeddings of ids [B, T]: [B, T, embedWidth]. */
export function embedTokens(s: Scope, ids: Value, config: OptConfig): Value {
  return embedding(decoderScope(s).at('embed_tokens'), ids, config.vocabSize, config.embedWidth, config.initStd);
}

const decoderScope = (s: Scope) => s.at('model').at('decoder');

/**
 * The decoder's layers over token embeddings [B, T, embedWidth] and rows of the position table: [B, T, embedWidth]. With `places` int64 [R]
 * in B·T only those rows, [R, embedWidth]: what follows the last layer's attention is worked out for no other.
 */
export function optDecoder(
  root: Scope,
  embeds: Value,
  positions: Value,
  config: OptConfig,
  context: Context,
  places?: Value,
): Value {
  const s = decoderScope(root);
  const { width, embedWidth } = config;
  const init = normalInit(config.initStd);
  const wide = embedWidth === width ? embeds : linear(s.at('project_in'), embeds, width, { bias: false, init });
  const rows = config.maxPositions + positionOffset;
  let x = add(s, wide, embedding(s.at('embed_positions'), positions, rows, width, config.initStd)); // [B, T, C]
  root.tap('hidden_states.0', x);
  for (let index = 0; index < config.layers; index++) {
    const isLast = index === config.layers - 1;
    x = decoderLayer(s.at('layers').at(index), x, { index, config, context, places: isLast ? places : undefined });
    if (!isLast) root.tap(`hidden_states.${index + 1}`, x);
  }
  if (config.finalNorm) x = norm(s.at('final_layer_norm'), x, config);
  if (embedWidth !== width) x = linear(s.at('project_out'), x, embedWidth, { bias: false, init });
  return root.tap(`hidden_states.${config.layers}`, x);
}

const norm = (s: Scope, x: Value, { affineNorm }: OptConfig) => layerNorm(s, x, { epsilon, affine: affineNorm });

/** A layer's place in the decoder. */
interface Layer {
  readonly index: number;
  readonly config: OptConfig;
  readonly context: Context;
  /** The rows wanted of its result; undefined: all. */
  readonly places: Value | undefined;
}

function decoderLayer(s: Scope, x: Value, layer: Layer): Value {
  const { config, places } = layer;
  const { preNorm } = config;
  const attended = selfAttention(s.at('self_attn'), preNorm ? norm(s.at('self_attn_layer_norm'), x, config) : x, layer);
  let h = add(s, places ? pickRows(s, x, places) : x, attended);
  if (!preNorm) h = norm(s.at('self_attn_layer_norm'), h, config);
  const fed = mlp(delicate(s), preNorm ? norm(s.at('final_layer_norm'), h, config) : h, {
    hidden: config.mlpWidth,
    activation: config.activation,
    names: ['fc1', 'fc2'],
    bias: config.bias,
    init: normalInit(config.initStd),
  });
  const out = add(s, h, fed);
  return preNorm ? out : norm(s.at('final_layer_norm'), out, config);
}

function selfAttention(s: Scope, x: Value, layer: Layer): Value {
  const { config, context, places } = layer;
  const { width, heads, bias } = config;
  const options = { bias, init: normalInit(config.initStd) };
  const [q, k] = ['q_proj', 'k_proj'].map((name) => linear(s.at(name), x, width, options)); // [B, T, C] each
  const v = linear(delicate(s).at('v_proj'), x, width, options);
  const how: AttentionOptions = { heads, scale: (width / heads) ** -0.5 };
  const mixed =
    context.kind === 'whole'
      ? attention(s, q, k, v, { ...how, bias: context.bias })
      : throughCache(s, [q, k, v], layer.index, config, context, how);
  return linear(delicate(s).at('out_proj'), places ? pickRows(s, mixed, places) : mixed, width, options);
}

function throughCache(
  s: Scope,
  qkv: readonly Value[],
  layer: number,
  { width, heads }: OptConfig,
  { builder, lastIndex, totalLength }: Extract<Context, { kind: 'cached' }>,
  options: AttentionOptions,
): Value {
  const shape = [qkv[0].shape[0], heads, 'cache', cacheHeadSize(width / heads)];
  const names = [`past.${layer}.key`, `past.${layer}.value`];
  const [key, value] = names.map((name) => builder.state(name, 'float32', shape));
  const result = cachedAttention(s, qkv, { key, value, lastIndex, totalLength }, options);
  builder.carry(names[0], result.key);
  builder.carry(names[1], result.value);
  return result.output;
}

/** Logits of hidden states [R, E]: [R, V]. */
export function optHead(s: Scope, hidden: Value, config: OptConfig): Value {
  const shape = [config.vocabSize, config.embedWidth];
  const init: Init = normalInit(config.initStd);
  const owner = config.tiedHead ? decoderScope(s).at('embed_tokens') : s.at('lm_head');
  if (isQuantized(s, shape)) return quantizedProduct(s.at('lm_head'), hidden, owner.spec('weight', shape, init));
  return linearWith(s, hidden, owner.parameter('weight', shape, init));
}

/** Position-table rows for a mask's row: real tokens count from the offset, padding takes the row before it. */
export function positionRows(mask: readonly number[]): number[] {
  let count = 0;
  return mask.map((real) => (real ? positionOffset + count++ : positionOffset - 1));
}

/** The position-table row of the token at `index` of an unpadded row. */
export const positionRow = (index: number): number => index + positionOffset;
