/** New vary checkpoints: of random weights, or of a published decoder and tower. */
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, WeightsError } from '../core/errors.js';
import { asObject, isObject, type JsonObject } from '../core/json.js';
import { createRng } from '../core/rng.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import type { Graph, ParameterSpec } from '../graph/builder.js';
import { modelGraphs } from '../infer/quantize.js';
import { type NamedWeights, nameDecoderWeights } from '../infer/weights.js';
import { varyFamily } from '../models/graphs.js';
import { renameOptTensor } from '../models/opt.js';
import { type SamConfig, samTokens, samVitB } from '../models/sam.js';
import { towerPath, type VaryConfig, varyConfigFrom } from '../models/vary.js';
import { charOfByte } from '../text/byte-level.js';
import { type Checkpoint, readFloat32 } from '../weights/checkpoint.js';
import { safetensorsChunks } from '../weights/safetensors.js';
import { makeDirectoryAtomic, writeFileAtomic } from './atomic.js';
import { openWeights, readConfig, readTokenizer } from './checkpoint-dir.js';
import { tokenizerFiles } from './checkpoint-files.js';
import { fileExists, readJson } from './files.js';

/**
 * Makes a directory with a whole checkpoint of random weights: config, tokenizer, tensors. Returns the number of parameters. Throws
 * InputError where something is there already.
 */
export async function writeRandomCheckpoint(out: string, config: VaryConfig, seed: number): Promise<number> {
  let parameters = 0;
  await makeDirectoryAtomic(out, async (dir) => {
    const tensors = randomTensors(modelGraphs(varyFamily(config), 'float32'), seed);
    writeTokenizer(dir, config);
    writeJson(dir, 'config.json', configJson(config));
    writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
    parameters = tensors.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
  });
  return parameters;
}

/** Tensors for every parameter of graphs, drawn as the model says they start. */
export function randomTensors(graphs: readonly Graph[], seed: number): [string, Tensor][] {
  return [...specsOf(graphs).values()].map((spec, i) => [spec.name, randomTensor(spec, seed, i)]);
}

function specsOf(graphs: readonly Graph[]): ReadonlyMap<string, ParameterSpec> {
  const sources = graphs.flatMap((graph) => graph.parameters).flatMap((parameter) => parameter.sources);
  return new Map(sources.map((spec) => [spec.name, spec]));
}

function randomTensor({ shape, init }: ParameterSpec, seed: number, stream: number): Tensor<'float32'> {
  const data = new Float32Array(sizeOf(shape));
  if (init.kind === 'constant') data.fill(init.value);
  else {
    const rng = createRng(seed, stream);
    // The sum of four uniforms: near enough to normal, and quick for 200 million values.
    const spread = init.std * Math.sqrt(3);
    for (let at = 0; at < data.length; at++)
      data[at] = spread * (rng.next() + rng.next() + rng.next() + rng.next() - 2);
  }
  return { dtype: 'float32', shape, data };
}

export interface AssembleOptions {
  /** A published OPT checkpoint directory. */
  readonly decoder: string;
  /** SAM's published `.pth`, or its image encoder alone. */
  readonly tower: string;
  /** Positions the decoder has afterwards, unless it has more. Default 4096. */
  readonly positions?: number;
  /** Of the parameters that neither has. Default 0. */
  readonly seed?: number;
}

export interface Assembled {
  readonly parameters: number;
  /** Parameters that neither file has: they start at random. */
  readonly fresh: readonly string[];
}

/** The image tokens in the order of their ids. */
const imageTokenNames = ['<imgpad>', '<img>', '</img>'];

/**
 * Makes a Vary ready to train of a published OPT and SAM: the decoder's positions are stretched, three image tokens are added
 * that start as the mean embedding, the tower's `net_2` and `net_3` and the projector are new. Throws InputError or WeightsError
 * saying what does not fit.
 */
export async function assembleVary(
  out: string,
  { decoder, tower, positions = 4096, seed = 0 }: AssembleOptions,
): Promise<Assembled> {
  const where = `${decoder}/config.json`;
  const opt = asObject(readConfig(decoder), where);
  if (opt['model_type'] !== 'opt') {
    throw new InputError(`${where}: model_type: expected opt, got ${JSON.stringify(opt['model_type'])}`);
  }
  const tokenizer = readTokenizer(decoder);
  if (!tokenizer) throw new InputError(`${decoder}: has no tokenizer files; download them with the weights`);
  const known = imageTokenNames.find((name) => tokenizer.tokenToId(name) !== undefined);
  if (known) throw new InputError(`${decoder}: its tokenizer has ${known} already: is it a vary checkpoint?`);
  const [decoderFile, towerFile] = [await openWeights(decoder), await openWeights(tower)];
  try {
    const samTensors = towerTensors(towerFile);
    const json = assembledConfig(opt, samSizes(samTensors, towerFile), { words: tokenizer.size, positions, where });
    const config = varyConfigFrom(json, where);
    const decoderWeights = await nameDecoderWeights(decoderFile, renameOptTensor, config.decoder);
    const sources: Sources = { words: tokenizer.size, config, decoderWeights, towerFile, samTensors };
    const specs = [...specsOf(modelGraphs(varyFamily(config), 'float32')).values()];
    const fresh = specs.map(({ name }) => name).filter(isNew);
    await makeDirectoryAtomic(out, async (dir) => {
      writeJson(dir, 'config.json', json);
      extendTokenizer(decoder, dir, tokenizer.size);
      const tensors: [string, Tensor][] = [];
      for (const [i, spec] of specs.entries()) {
        tensors.push([spec.name, isNew(spec.name) ? randomTensor(spec, seed, i) : await published(spec, sources)]);
      }
      writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
    });
    return { parameters: specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0), fresh };
  } finally {
    decoderFile.dispose();
    towerFile.dispose();
  }
}

const isNew = (name: string): boolean =>
  ['net_2', 'net_3'].some((part) => name.startsWith(`${towerPath}.${part}.`)) || name.startsWith('model.mm_projector.');

interface Sources {
  /** Tokens of the tokenizer: later rows of the embedding were never trained. */
  readonly words: number;
  readonly config: VaryConfig;
  readonly decoderWeights: NamedWeights;
  readonly towerFile: Checkpoint;
  /** The tower's tensors: SAM's name without prefix -> the file's. */
  readonly samTensors: ReadonlyMap<string, string>;
}

/** A tensor that one of the two files has, brought to the new shape. Throws WeightsError where it has not. */
async function published(spec: ParameterSpec, sources: Sources): Promise<Tensor<'float32'>> {
  const { decoderWeights, towerFile, samTensors, words, config } = sources;
  const tower = spec.name.startsWith(`${towerPath}.`);
  const file = tower ? towerFile : decoderWeights.checkpoint;
  const stored = tower ? samTensors.get(spec.name.slice(towerPath.length + 1)) : decoderWeights.names.get(spec.name);
  if (stored === undefined) throw new WeightsError(`${file.name}: no tensor is called ${spec.name}`);
  const tensor = await readFloat32(file, stored);
  const isTable = /(embed_tokens|lm_head)\.weight$/.test(spec.name);
  const fitted = isTable
    ? withMeanRows(tensor, words, imageTokenNames.length, `${file.name}: ${stored}`)
    : spec.name.endsWith('embed_positions.weight')
      ? stretchPositions(tensor, config.decoder.maxPositions)
      : tensor;
  if (String(fitted.shape) !== String(spec.shape)) {
    throw new WeightsError(`${file.name}: ${stored}: expected [${spec.shape}], got [${fitted.shape}]`);
  }
  return fitted;
}

/** The first `words` rows of a table [V, C], and `more` rows that are their mean. */
export function withMeanRows(
  { shape: [rows, width], data }: Tensor<'float32'>,
  words: number,
  more: number,
  where: string,
): Tensor<'float32'> {
  if (rows < words) throw new WeightsError(`${where}: has ${rows} rows, the tokenizer ${words} tokens`);
  const mean = new Float64Array(width);
  for (let i = 0; i < words * width; i++) mean[i % width] += data[i] / words;
  const result = new Float32Array((words + more) * width);
  result.set(data.subarray(0, words * width));
  for (let row = words; row < words + more; row++) result.set(mean, row * width);
  return { dtype: 'float32', shape: [words + more, width], data: result };
}

/** OPT keeps two rows before the first position. */
const offset = 2;

/**
 * A table of positions [2 + P, C] stretched to `positions`, linearly, first on first and last on last: sequences begin at a
 * position that was trained, and none lies outside of what was.
 */
export function stretchPositions(table: Tensor<'float32'>, positions: number): Tensor<'float32'> {
  const [rows, width] = table.shape;
  const before = rows - offset;
  if (before === positions) return table;
  const result = new Float32Array((offset + positions) * width);
  result.set(table.data.subarray(0, offset * width));
  for (let i = 0; i < positions; i++) {
    const at = (i * (before - 1)) / (positions - 1);
    const low = Math.min(Math.floor(at), before - 1);
    const high = Math.min(low + 1, before - 1);
    for (let c = 0; c < width; c++) {
      const [a, b] = [low, high].map((row) => table.data[(offset + row) * width + c]);
      result[(offset + i) * width + c] = a + (at - low) * (b - a);
    }
  }
  return { dtype: 'float32', shape: [offset + positions, width], data: result };
}

/** The image encoder's tensors of a SAM file, by their names without `image_encoder.`; prompt encoder and mask decoder are left. */
function towerTensors(file: Checkpoint): ReadonlyMap<string, string> {
  const prefix = 'image_encoder.';
  const own = file.names.filter((name) => name.startsWith(prefix));
  return new Map(
    (own.length > 0 ? own : file.names).map((name) => [name.slice(own.length > 0 ? prefix.length : 0), name]),
  );
}

/** An image encoder's sizes from its tensors' shapes. Throws WeightsError where it is not SAM's. */
function samSizes(tensors: ReadonlyMap<string, string>, file: Checkpoint): SamConfig {
  const shapeOf = (name: string) => {
    const stored = tensors.get(name);
    if (stored === undefined)
      throw new WeightsError(`${file.name}: no tensor is called image_encoder.${name}; is it SAM's?`);
    return file.info(stored).shape;
  };
  const [width, , patchHeight, patchWidth] = shapeOf('patch_embed.proj.weight');
  const [, rows, columns] = shapeOf('pos_embed');
  const depth = [...tensors.keys()].filter((name) => /^blocks\.\d+\.norm1\.weight$/.test(name)).length;
  // Tables of relative positions are 2·side − 1 long: the side of the window, or of the whole map.
  const sides = Array.from({ length: depth }, (_, i) => (shapeOf(`blocks.${i}.attn.rel_pos_h`)[0] + 1) / 2);
  const windowSize = sides.find((side) => side !== rows) ?? 0;
  const neckChannels = shapeOf('neck.0.weight')[0];
  return {
    ...samVitB,
    imageSize: [rows * patchHeight, columns * patchWidth],
    patchSize: [patchHeight, patchWidth],
    width,
    depth,
    heads: width / shapeOf('blocks.0.attn.rel_pos_h')[1],
    mlpRatio: shapeOf('blocks.0.mlp.lin1.weight')[0] / width,
    windowSize,
    globalBlocks: windowSize === 0 ? [] : sides.flatMap((side, i) => (side === rows ? [i] : [])),
    neckChannels,
    netChannels: [2 * neckChannels, 4 * neckChannels],
    qkvBias: tensors.has('blocks.0.attn.qkv.bias'),
  };
}

function assembledConfig(
  opt: JsonObject,
  tower: SamConfig,
  { words, positions, where }: { readonly words: number; readonly positions: number; readonly where: string },
): JsonObject {
  const before = opt['max_position_embeddings'] ?? 2048;
  if (typeof before !== 'number') throw new InputError(`${where}: max_position_embeddings: expected a number`);
  const { dtype: _dtype, _name_or_path: _name, ...kept } = opt;
  const [patch, start, end] = [words, words + 1, words + 2];
  const sizes = Object.entries(samVitB).every(
    ([name, value]) => String(value) === String(tower[name as keyof SamConfig]),
  );
  return {
    ...kept,
    architectures: ['varyOPTForCausalLM'],
    model_type: 'vary',
    vocab_size: words + imageTokenNames.length,
    max_position_embeddings: Math.max(before, positions),
    im_patch_token: patch,
    im_start_token: start,
    im_end_token: end,
    image_token_len: samTokens(tower),
    use_im_start_end: true,
    torch_dtype: 'float32',
    ...(!sizes && { vary_tower: towerJson(tower) }),
  };
}

/** Copies the tokenizer and adds the image tokens, in every file that lists such tokens; the licence comes along. */
function extendTokenizer(from: string, to: string, first: number): void {
  const added = imageTokenNames.map((content, i) => ({
    id: first + i,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  for (const name of [...tokenizerFiles, 'generation_config.json', 'LICENSE', 'LICENSE.md', 'LICENSE.txt']) {
    if (fileExists(join(from, name))) copyFileSync(join(from, name), join(to, name));
  }
  const byName = Object.fromEntries(added.map(({ content, id }) => [content, id]));
  writeJson(to, 'added_tokens.json', {
    ...asObject(readJson(from, 'added_tokens.json') ?? {}, 'added_tokens.json'),
    ...byName,
  });
  const whole = readJson(from, 'tokenizer.json');
  if (isObject(whole)) {
    const before = Array.isArray(whole['added_tokens']) ? (whole['added_tokens'] as unknown[]) : [];
    writeJson(to, 'tokenizer.json', { ...whole, added_tokens: [...before, ...added] });
  }
  const config = readJson(from, 'tokenizer_config.json');
  if (isObject(config) && isObject(config['added_tokens_decoder'])) {
    const more = Object.fromEntries(added.map(({ id, ...flags }) => [String(id), flags]));
    writeJson(to, 'tokenizer_config.json', {
      ...config,
      added_tokens_decoder: { ...config['added_tokens_decoder'], ...more },
    });
  }
}

export const writeJson = (dir: string, name: string, value: unknown): void =>
  writeFileSync(join(dir, name), `${JSON.stringify(value, null, 2)}\n`);

function configJson({ decoder, imageTokens, tower, input, draft }: VaryConfig) {
  return {
    architectures: ['varyOPTForCausalLM'],
    model_type: 'vary',
    activation_function: decoder.activation,
    do_layer_norm_before: decoder.preNorm,
    hidden_size: decoder.width,
    word_embed_proj_dim: decoder.embedWidth,
    ffn_dim: decoder.mlpWidth,
    num_hidden_layers: decoder.layers,
    num_attention_heads: decoder.heads,
    max_position_embeddings: decoder.maxPositions,
    vocab_size: decoder.vocabSize,
    bos_token_id: decoder.bosId,
    eos_token_id: decoder.eosIds.length === 1 ? decoder.eosIds[0] : decoder.eosIds,
    pad_token_id: decoder.padId,
    im_patch_token: imageTokens.patch,
    im_start_token: imageTokens.start,
    im_end_token: imageTokens.end,
    image_token_len: imageTokens.count,
    use_im_start_end: true,
    torch_dtype: 'float32',
    ...(tower !== samVitB && { vary_tower: towerJson(tower) }),
    ...(input !== 'page' && { vary_input: input }),
    ...(draft && { vary_draft: { columns_per_token: draft.columnsPerToken } }),
  };
}

/** A tower that is not the released one, as `samConfigFrom` reads it. */
function towerJson(tower: SamConfig) {
  return {
    img_size: tower.imageSize,
    patch_size: tower.patchSize,
    ...(tower.stem.length > 0 && { stem: tower.stem }),
    embed_dim: tower.width,
    depth: tower.depth,
    num_heads: tower.heads,
    mlp_ratio: tower.mlpRatio,
    window_size: tower.windowSize,
    global_attn_indexes: tower.globalBlocks,
    out_chans: tower.neckChannels,
    net_2: tower.netChannels[0],
    net_3: tower.netChannels[1],
    net_strides: tower.netStrides,
    layer_norm_eps: tower.epsilon,
    use_abs_pos: tower.absolutePositions,
    use_rel_pos: tower.relativePositions,
    qkv_bias: tower.qkvBias,
    ...(tower.widthStep > 0 && { width_step: tower.widthStep }),
  };
}

/** GPT-2's printable stand-ins for the 256 bytes, then words of digits up to the released vocabulary's size. */
function writeTokenizer(dir: string, { decoder: { vocabSize }, imageTokens: { patch, start, end } }: VaryConfig): void {
  const vocab: Record<string, number> = { '<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3 };
  let next = 4;
  for (let byte = 0; byte < 256; byte++) vocab[charOfByte(byte)] = next++;
  for (let word = 0; next < vocabSize - 3; word++) vocab[`Ġ${word}`] = next++;
  const write = (name: string, value: unknown) => writeFileSync(join(dir, name), `${JSON.stringify(value)}\n`);
  write('vocab.json', vocab);
  writeFileSync(join(dir, 'merges.txt'), '#version: 0.2\n');
  write('added_tokens.json', { '<imgpad>': patch, '<img>': start, '</img>': end });
  const special = { bos_token: '</s>', eos_token: '</s>', unk_token: '</s>', pad_token: '<pad>' };
  write('special_tokens_map.json', special);
  write('tokenizer_config.json', {
    tokenizer_class: 'GPT2Tokenizer',
    add_bos_token: true,
    add_prefix_space: false,
    ...special,
  });
}
