import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import type { Graph, ParameterSpec } from '../graph/builder.js';
import { modelGraphs } from '../infer/quantize.js';
import { type ClipConfig, clipConfigJson, clipNano } from '../models/clip.js';
import { imageGraph, nativeSize, similarityGraph, textGraph } from '../models/clip-graphs.js';
import { varyFamily } from '../models/graphs.js';
import { type SamConfig, samVitB } from '../models/sam.js';
import { type VaryConfig, varyNano, varyTiny } from '../models/vary.js';
import { makeDirectoryAtomic, writeFileAtomic } from '../node/atomic.js';
import { builtinFolder } from '../node/builtin-models.js';
import { copySideFiles } from '../node/checkpoint-files.js';
import { charOfByte } from '../text/byte-level.js';
import { safetensorsChunks } from '../weights/safetensors.js';
import type { Command } from './command.js';

export const initCommand: Command = {
  summary: 'write a full-size checkpoint with random weights, to measure or to train from without a download',
  usage: 'varyclip init vary-tiny|vary-nano|clip-nano --out DIR [--seed N]',
  options: {
    out: { type: 'string', short: 'o', value: 'DIR', help: 'directory to make' },
    seed: { type: 'string', value: 'N', help: 'of the weights (0)' },
  },
  run: async (args, io) => {
    const [what] = args.positionals;
    const config = { 'vary-tiny': varyTiny, 'vary-nano': varyNano }[what];
    if (!config && what !== 'clip-nano') throw new InputError('init: expected vary-tiny, vary-nano or clip-nano');
    const out = args.text('out');
    if (out === undefined) throw new InputError('init: name a directory to make: --out DIR');
    const seed = args.number('seed') ?? 0;
    const parameters = await (config ? writeRandomCheckpoint(out, config, seed) : writeRandomClip(out, clipNano, seed));
    io.err(`varyclip: wrote ${parameters.toLocaleString('en')} random parameters to ${out}: it knows nothing\n`);
    return 0;
  },
};

/**
 * Makes a directory with a whole checkpoint of random weights: config, tokenizer, tensors. Returns the number of parameters. Throws
 * InputError where something is there already.
 */
export async function writeRandomCheckpoint(out: string, config: VaryConfig, seed: number): Promise<number> {
  let parameters = 0;
  await makeDirectoryAtomic(out, async (dir) => {
    const tensors = randomTensors(modelGraphs(varyFamily(config), 'float32'), seed);
    writeTokenizer(dir, config);
    writeFileSync(join(dir, 'config.json'), `${JSON.stringify(configJson(config), null, 2)}\n`);
    writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
    parameters = tensors.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
  });
  return parameters;
}

/** The same for two towers, with the built-in model's words. */
export async function writeRandomClip(out: string, config: ClipConfig, seed: number): Promise<number> {
  const graphs = [imageGraph(config, nativeSize(config)), textGraph(config), similarityGraph(config)];
  const tensors = randomTensors(graphs, seed);
  const { imageSize } = config.vision;
  await makeDirectoryAtomic(out, async (dir) => {
    copySideFiles(builtinFolder('clip-nano'), dir);
    const write = (name: string, value: unknown) =>
      writeFileSync(join(dir, name), `${JSON.stringify(value, null, 2)}\n`);
    write('config.json', clipConfigJson(config));
    write('preprocessor_config.json', {
      image_processor_type: 'CLIPImageProcessor',
      size: { shortest_edge: imageSize },
      crop_size: { height: imageSize, width: imageSize },
    });
    rmSync(join(dir, 'README.md'), { force: true });
    writeFileAtomic(join(dir, 'model.safetensors'), safetensorsChunks(tensors, { format: 'pt' }));
  });
  return tensors.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
}

/** Tensors for every parameter of graphs, drawn as the model says they start. */
export function randomTensors(graphs: readonly Graph[], seed: number): [string, Tensor][] {
  const specs = new Map<string, ParameterSpec>();
  for (const { sources } of graphs.flatMap((graph) => graph.parameters))
    for (const spec of sources) specs.set(spec.name, spec);
  return [...specs.values()].map(({ name, shape, init }, i) => {
    const data = new Float32Array(sizeOf(shape));
    if (init.kind === 'constant') data.fill(init.value);
    else {
      const rng = createRng(seed, i);
      // The sum of four uniforms: near enough to normal, and quick for 200 million values.
      const spread = init.std * Math.sqrt(3);
      for (let at = 0; at < data.length; at++)
        data[at] = spread * (rng.next() + rng.next() + rng.next() + rng.next() - 2);
    }
    return [name, { dtype: 'float32', shape, data }];
  });
}

function configJson({ decoder, imageTokens, tower, input }: VaryConfig) {
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
    eos_token_id: decoder.eosId,
    pad_token_id: decoder.padId,
    im_patch_token: imageTokens.patch,
    im_start_token: imageTokens.start,
    im_end_token: imageTokens.end,
    image_token_len: imageTokens.count,
    use_im_start_end: true,
    torch_dtype: 'float32',
    ...(tower !== samVitB && { vary_tower: towerJson(tower) }),
    ...(input !== 'page' && { vary_input: input }),
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
