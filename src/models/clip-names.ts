/** OpenAI's own names and layout of CLIP's tensors (openai/CLIP model.py), which open_clip's checkpoints keep. */
import { InputError, WeightsError } from '../core/errors.js';
import { asObject, booleanField, countField, isObject, type JsonObject } from '../core/json.js';
import type { Tensor } from '../core/tensor.js';
import type { Checkpoint, TensorInfo } from '../weights/checkpoint.js';
import { type ClipConfig, clipVitB32 } from './clip.js';

/** One of our tensors in OpenAI's layout: as it is, a third of it, or transposed. */
interface Origin {
  readonly name: string;
  readonly third?: 0 | 1 | 2;
  readonly transposed?: boolean;
}

const fixed: Readonly<Record<string, Origin & { readonly ours: string }>> = Object.fromEntries(
  [
    { name: 'logit_scale', ours: 'logit_scale' },
    { name: 'token_embedding.weight', ours: 'text_model.embeddings.token_embedding.weight' },
    { name: 'positional_embedding', ours: 'text_model.embeddings.position_embedding.weight' },
    { name: 'text_projection', ours: 'text_projection.weight', transposed: true },
    { name: 'visual.class_embedding', ours: 'vision_model.embeddings.class_embedding' },
    { name: 'visual.conv1.weight', ours: 'vision_model.embeddings.patch_embedding.weight' },
    { name: 'visual.positional_embedding', ours: 'vision_model.embeddings.position_embedding.weight' },
    { name: 'visual.proj', ours: 'visual_projection.weight', transposed: true },
  ].map((entry) => [entry.name, entry]),
);
const norms: Readonly<Record<string, string>> = {
  ln_final: 'text_model.final_layer_norm',
  'visual.ln_pre': 'vision_model.pre_layrnorm',
  'visual.ln_post': 'vision_model.post_layernorm',
};
const blockParts: Readonly<Record<string, string>> = {
  'attn.out_proj': 'self_attn.out_proj',
  ln_1: 'layer_norm1',
  ln_2: 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
};
/** Numbers that OpenAI's archives keep beside the weights, and open_clip's attention mask. */
const notWeights = new Set(['input_resolution', 'context_length', 'vocab_size', 'attn_mask']);

/** What tensors a stored name holds, by our names. A name that is not known stays as it is, and is reported when loading. */
function originsOf(name: string): readonly (readonly [ours: string, Origin])[] {
  if (notWeights.has(name)) return [];
  if (Object.hasOwn(fixed, name)) return [[fixed[name].ours, fixed[name]]];
  const norm = /^(.*)\.(weight|bias)$/.exec(name);
  if (norm && Object.hasOwn(norms, norm[1])) return [[`${norms[norm[1]]}.${norm[2]}`, { name }]];
  const block = /^(visual\.)?transformer\.resblocks\.(\d+)\.(.*?)[._](weight|bias)$/.exec(name);
  if (!block) return [[name, { name }]];
  const [, visual, layer, part, kind] = block;
  const path = `${visual ? 'vision_model' : 'text_model'}.encoder.layers.${layer}`;
  if (part === 'attn.in_proj') {
    const thirds = (['q', 'k', 'v'] as const).map((letter, third) => [letter, third as 0 | 1 | 2] as const);
    return thirds.map(([letter, third]) => [`${path}.self_attn.${letter}_proj.${kind}`, { name, third }]);
  }
  const ours = Object.hasOwn(blockParts, part) ? blockParts[part] : part;
  return [[`${path}.${ours}.${kind}`, { name }]];
}

const wrapper = 'module.';

/** A checkpoint without what torch's DistributedDataParallel puts before every name, as open_clip's training leaves it. */
export function unwrapped(checkpoint: Checkpoint): Checkpoint {
  if (!checkpoint.names.every((name) => name.startsWith(wrapper))) return checkpoint;
  return {
    ...checkpoint,
    names: checkpoint.names.map((name) => name.slice(wrapper.length)),
    info: (name) => checkpoint.info(wrapper + name),
    read: (name) => checkpoint.read(wrapper + name),
  };
}

/** Whether a checkpoint has OpenAI's names. */
export function hasOpenAiNames(names: readonly string[]): boolean {
  return names.includes('visual.conv1.weight') && names.includes('text_projection');
}

function shapeOf({ shape }: TensorInfo, { name, third, transposed }: Origin): readonly number[] {
  if (transposed) return [...shape].reverse();
  if (third === undefined) return shape;
  if (shape[0] % 3 !== 0) throw new WeightsError(`${name}: expected a multiple of 3 rows, got [${shape}]`);
  return [shape[0] / 3, ...shape.slice(1)];
}

function partOf(tensor: Tensor, origin: Origin): Tensor {
  const shape = shapeOf(tensor, origin);
  const { dtype, data } = tensor;
  if (origin.third !== undefined) {
    const size = data.length / 3;
    return { dtype, shape, data: data.slice(origin.third * size, (origin.third + 1) * size) };
  }
  if (!origin.transposed) return tensor;
  const [rows, columns] = shape;
  const out = data.slice();
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[r * columns + c] = data[c * rows + r];
  return { dtype, shape, data: out };
}

/** A checkpoint with OpenAI's names as one with transformers' names: queries, keys and values apart, projections [out, in]. */
export function fromOpenAi(checkpoint: Checkpoint): Checkpoint {
  const origins = new Map(checkpoint.names.flatMap(originsOf));
  const find = (name: string) => {
    const origin = origins.get(name);
    if (!origin) throw new WeightsError(`${checkpoint.name}: no tensor is called ${name}`);
    return origin;
  };
  return {
    ...checkpoint,
    names: [...origins.keys()],
    info: (name) => {
      const origin = find(name);
      const info = checkpoint.info(origin.name);
      return { dtype: info.dtype, shape: shapeOf(info, origin) };
    },
    read: async (name) => {
      const origin = find(name);
      return partOf(await checkpoint.read(origin.name), origin);
    },
  };
}

/** Heads of OpenAI's towers are 64 wide. */
const headWidth = 64;

/** What open_clip's towers may be beside CLIP's, with CLIP's: no tensor would tell that another was meant. */
const plainTowers: Readonly<Record<'vision_cfg' | 'text_cfg', JsonObject>> = {
  vision_cfg: {
    pool_type: 'tok',
    attentional_pool: false,
    final_ln_after_pool: false,
    act_kwargs: {},
    norm_kwargs: {},
  },
  text_cfg: { pool_type: 'argmax', no_causal_mask: false, proj_type: 'linear', act_kwargs: {}, norm_kwargs: {} },
};

/** Throws InputError for a tower with an option that is another than CLIP's. */
function expectPlain(tower: JsonObject, name: keyof typeof plainTowers, where: string): void {
  for (const [option, plain] of Object.entries(plainTowers[name])) {
    const [got, expected] = [tower[option] ?? plain, plain].map((value) => JSON.stringify(value));
    if (got !== expected) throw new InputError(`${where}: ${name}: ${option}: expected ${expected}, got ${got}`);
  }
}

/** What pictures are brought to, of which only whole patches are seen: `vision_cfg` says so, or it is these patches. */
function imageSizeOf(vision: JsonObject, side: number, patchSize: number, where: string): number {
  if (typeof vision['image_size'] !== 'number') return side * patchSize;
  const size = countField(vision, 'image_size', where);
  if (Math.floor(size / patchSize) === side) return size;
  throw new InputError(
    `${where}: image_size: expected ${side} patches of ${patchSize}, as the positions are, got ${size}; set it to ${side * patchSize}`,
  );
}

/**
 * Sizes of a checkpoint with OpenAI's names: from its shapes, and from open_clip's `model_cfg` what shapes do not tell (heads,
 * activation). Throws InputError for towers that are not CLIP's.
 */
export function openAiConfigFrom(checkpoint: Checkpoint, modelConfig: unknown, where: string): ClipConfig {
  const json = modelConfig === undefined ? {} : asObject(modelConfig, where);
  const block = (name: string): JsonObject => (isObject(json[name]) ? json[name] : {});
  const [vision, text] = [block('vision_cfg'), block('text_cfg')];
  if (typeof vision['timm_model_name'] === 'string' || typeof text['hf_model_name'] === 'string') {
    throw new InputError(
      `${where}: the towers are of timm or transformers; only CLIP's own transformers are known here`,
    );
  }
  expectPlain(vision, 'vision_cfg', where);
  expectPlain(text, 'text_cfg', where);
  const shape = (name: string) => checkpoint.info(name).shape;
  const layers = (prefix: string) =>
    checkpoint.names.filter((name) => name.startsWith(prefix) && name.endsWith('.attn.in_proj_weight')).length;
  const [visionWidth, channels, , patchSize] = shape('visual.conv1.weight');
  const side = Math.round(Math.sqrt(shape('visual.positional_embedding')[0] - 1));
  const [textWidth, embedWidth] = shape('text_projection');
  const perHead = countField(vision, 'head_width', `${where}: vision_cfg`, headWidth);
  const quick = modelConfig === undefined || booleanField(json, 'quick_gelu', where, false);
  const shared = { activation: quick ? 'quick_gelu' : 'gelu', epsilon: 1e-5 } as const;
  const mlpOf = (prefix: string) => shape(`${prefix}transformer.resblocks.0.mlp.c_fc.weight`)[0];
  return {
    family: 'clip',
    text: {
      ...shared,
      width: textWidth,
      layers: layers('transformer.'),
      heads: countField(text, 'heads', `${where}: text_cfg`, Math.max(1, Math.floor(textWidth / headWidth))),
      mlpWidth: mlpOf(''),
      vocabSize: shape('token_embedding.weight')[0],
      maxPositions: shape('positional_embedding')[0],
      endId: undefined,
    },
    vision: {
      ...shared,
      width: visionWidth,
      layers: layers('visual.transformer.'),
      heads: Math.max(1, Math.floor(visionWidth / perHead)),
      mlpWidth: mlpOf('visual.'),
      imageSize: imageSizeOf(vision, side, patchSize, `${where}: vision_cfg`),
      patchSize,
      stem: [],
      channels,
    },
    embedWidth,
    logitScale: clipVitB32.logitScale,
  };
}
