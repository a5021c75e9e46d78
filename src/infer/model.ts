import { AbortedError, InputError } from '../core/errors.js';
import { floatView, type Tensor } from '../core/tensor.js';
import type { Gray } from '../image/gray.js';
import { blipTransform, processHigh, testTransform } from '../image/high-processor.js';
import type { Pixels } from '../image/pixels.js';
import type { ForwardInput } from '../models/forward-inputs.js';
import { cachedDecoderGraph, type DecoderFamily, towerGraphs } from '../models/graphs.js';
import type { OptConfig } from '../models/opt.js';
import { spliceSources, type VaryConfig } from '../models/vary.js';
import type { Runtime, Session, WeightLoader } from '../runtime/runtime.js';
import type { ImageTokens } from '../text/image-tokens.js';
import { readPrompt } from '../text/prompt.js';
import type { PromptStyle } from '../text/prompt-style.js';
import { createTextStream, type TextStream } from '../text/stream.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type CachedDecoder, createSessionDecoder, type Prompt } from './decoder.js';
import { type ForwardOutput, forward } from './forward.js';
import { type GeneratedRow, type GenerateOptions, generate } from './generate.js';
import { type Precision, weightBits } from './quantize.js';
import {
  type LineReader,
  type PieceBatch,
  promptOptions,
  readByLines,
  readPieces,
  warningsOf,
} from './read-by-lines.js';
import type { ReadOptions, ReadResult } from './reading.js';

/** What a model is made of; the platform supplies it. */
export interface ModelParts {
  readonly family: DecoderFamily;
  readonly runtime: Runtime;
  readonly weights: WeightLoader;
  readonly precision: Precision;
  /** Into how many sessions the tower is cut; decoding of others can run between them. */
  readonly towerSegments?: number;
  readonly tokenizer?: Tokenizer;
  readonly imageTokens?: ImageTokens;
  /** How the checkpoint was trained to be asked; default: plainly. */
  readonly promptStyle?: PromptStyle;
  /** Called once when the model is disposed. */
  readonly close: () => void;
}

export interface GenerateInput {
  /** Rows of equal length, padded on either side where the mask is 0. */
  readonly inputIds: readonly (readonly number[])[];
  readonly attentionMask?: readonly (readonly number[])[];
  readonly pixelValues?: Tensor;
}

/** A decoder that can be run; kind 'opt' takes no images. */
export interface OptModel {
  readonly kind: 'opt';
  readonly config: OptConfig;
  readonly tokenizer: Tokenizer | undefined;
  forward(input: ForwardInput): Promise<ForwardOutput>;
  /**
   * Rows as given followed by the new tokens, filled with the pad id to equal length; with beams, `beams.returned` rows per
   * input row, best first.
   */
  generate(input: GenerateInput, options?: GenerateOptions): Promise<number[][]>;
  /** The same with why each row ended, and scores of beams. */
  generateRows(input: GenerateInput, options?: GenerateOptions): Promise<GeneratedRow[]>;
  dispose(): Promise<void>;
}

export interface VaryModel extends Omit<OptModel, 'kind' | 'config'> {
  readonly kind: 'vary';
  readonly config: VaryConfig;
  read(image: Pixels, options?: ReadOptions): Promise<ReadResult>;
  /**
   * Of a model of lines: pieces of lines, of one page or several, read as one batch (see `planLines`, `createPageText`);
   * undefined where it was aborted. Throws InputError for a model of pages.
   */
  readPieces(images: readonly Gray[], options?: Omit<ReadOptions, 'onText'>): Promise<PieceBatch | undefined>;
  /** Several images decoded together; each result equals that image's own `read`. */
  readAll(images: readonly Pixels[], options?: Omit<ReadOptions, 'onText'>): Promise<ReadResult[]>;
}

/** Sessions are compiled when first needed. */
function createSessions({ family, runtime, weights, precision, towerSegments }: ModelParts) {
  let tower: Promise<Session[]> | undefined;
  let decoder: Promise<Session> | undefined;
  const compileTower = async (config: VaryConfig) => {
    const sessions: Session[] = [];
    for (const graph of towerGraphs(config, towerSegments)) sessions.push(await runtime.compile(graph, { weights }));
    return sessions;
  };
  return {
    tower: () => {
      if (family.kind !== 'vary') throw new InputError('this model takes no images');
      tower ??= compileTower(family.vary);
      return tower;
    },
    decoder: () => {
      decoder ??= runtime.compile(cachedDecoderGraph(family, weightBits[precision]), { weights });
      return decoder;
    },
    dispose: async () => {
      for (const session of (await tower?.catch(() => [])) ?? []) await session.dispose();
      await (await decoder?.catch(() => undefined))?.dispose();
    },
  };
}

/** What all models have in common. */
function createBase(parts: ModelParts) {
  const { family, runtime, weights } = parts;
  const sessions = createSessions(parts);
  let disposed = false;
  const expectAlive = () => {
    if (disposed) throw new InputError('this model was disposed');
  };
  const decoder = async (): Promise<CachedDecoder> => {
    expectAlive();
    return createSessionDecoder(await sessions.decoder(), {
      width: family.decoder.width,
      maxPositions: family.decoder.maxPositions,
      withImages: family.kind === 'vary',
    });
  };
  /** Tower features of images [N, 3, H, W]: float32 [N·T, C]. */
  const features = async (pixels: Tensor, signal?: AbortSignal): Promise<Tensor<'float32'>> => {
    expectAlive();
    const parts: Float32Array[] = [];
    const width = family.decoder.width;
    const [images, ...shape] = pixels.shape;
    const size = pixels.data.length / images;
    // Pages one at a time, for the memory; lines together, since one is little work.
    const together = Math.max(1, Math.floor(pixelsAtOnce / size));
    for (let i = 0; i < images; i += together) {
      const some = (pixels.data as Float32Array).subarray(i * size, Math.min(images, i + together) * size);
      let x: Tensor = floatView([some.length / size, ...shape], some);
      for (const session of await sessions.tower()) {
        x = (await session.run({ x }, signal && { signal }))['x.out'];
      }
      parts.push(x.data as Float32Array);
    }
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      data.set(part, at);
      at += part.length;
    }
    return floatView([data.length / width, width], data);
  };
  const generateRows = async ({ inputIds, attentionMask, pixelValues }: GenerateInput, options?: GenerateOptions) => {
    const mask = attentionMask ?? inputIds.map((row) => row.map(() => 1));
    const rows = inputIds.map((row, i) => row.filter((_, t) => mask[i][t]));
    const prompts = await promptsOf(parts, rows, pixelValues && (await features(pixelValues, options?.signal)));
    return generate(await decoder(), prompts, family.decoder.eosId, options, inputIds);
  };
  const generateIds: OptModel['generate'] = async (input, options) => {
    const rows = await generateRows(input, options);
    const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
    const { padId } = family.decoder;
    return rows.map(({ tokens, prompt }) => [
      ...input.inputIds[prompt],
      ...tokens,
      ...Array<number>(longest - tokens.length).fill(padId),
    ]);
  };
  return {
    tokenizer: parts.tokenizer,
    decoder,
    features,
    generateRows,
    generate: generateIds,
    forward: (input: ForwardInput) => {
      expectAlive();
      return forward(runtime, weights, family, input, weightBits[parts.precision]);
    },
    dispose: async () => {
      if (disposed) return;
      disposed = true;
      await sessions.dispose();
      parts.close();
    },
  };
}

/** Values of images that the tower takes in one run, at most, unless one image alone has more. */
const pixelsAtOnce = 16 * 3 * 32 * 384;

/** Unpadded rows with the places of their images. */
async function promptsOf(
  { family }: ModelParts,
  rows: readonly (readonly number[])[],
  features: Tensor<'float32'> | undefined,
): Promise<Prompt[]> {
  if (!features || family.kind !== 'vary') return rows.map((ids) => ({ ids }));
  const { imageTokens } = family.vary;
  const perImage = imageTokens.count;
  const images = features.shape[0] / perImage;
  let used = 0;
  const prompts = rows.map((ids): Prompt => {
    const count = ids.includes(imageTokens.patch) ? ids.filter((id) => id === imageTokens.start).length : 0;
    if (count === 0) return { ids };
    const first = used * perImage;
    used += count;
    if (used > images) throw new InputError(`the prompts have more <img> than the ${images} images given`);
    const width = features.shape[1];
    const own = features.data.subarray(first * width, (first + count * perImage) * width);
    const [source] = spliceSources([ids], imageTokens, count);
    return { ids, images: { features: floatView([count * perImage, width], own), source } };
  });
  if (used !== images) throw new InputError(`the prompts have ${used} images, ${images} were given`);
  return prompts;
}

/** A plain OPT model. */
export function createOptModel(parts: ModelParts): OptModel {
  const { forward: run, generate: ids, generateRows, tokenizer, dispose } = createBase(parts);
  return { kind: 'opt', config: parts.family.decoder, tokenizer, forward: run, generate: ids, generateRows, dispose };
}

/** Reading of a model whose images are single lines: pages are cut for it. */
function byLines(parts: ModelParts, config: VaryConfig, base: ReturnType<typeof createBase>) {
  const { tokenizer, imageTokens, promptStyle } = parts;
  const prompts: LineReader['prompts'] = async (ids, pixels, signal) => {
    const features = await base.features(pixels, signal);
    const rows = Array.from({ length: pixels.shape[0] }, () => ids);
    return promptsOf(parts, rows, features);
  };
  const reader = (): LineReader => {
    if (!tokenizer || !imageTokens) throw new InputError('this checkpoint has no tokenizer: it cannot read');
    return { config, tokenizer, imageTokens, promptStyle, prompts, decoder: base.decoder };
  };
  return {
    readImages: async (images: readonly Pixels[], options: ReadOptions): Promise<ReadResult[]> => {
      const results: ReadResult[] = [];
      for (const image of images) results.push(await readByLines(reader(), image, options));
      return results;
    },
    readPieces: (images: readonly Gray[], options: ReadOptions) => readPieces(reader(), images, options),
  };
}

/** A Vary model; throws InputError for an OPT family. */
export function createVaryModel(parts: ModelParts): VaryModel {
  const { family, tokenizer, imageTokens, promptStyle } = parts;
  if (family.kind !== 'vary') throw new InputError('not a vary checkpoint');
  const { vary } = family;
  const base = createBase(parts);

  const readRows = async (
    images: readonly Pixels[],
    { prompt, template, stop, transform = 'test', onText, ...options }: ReadOptions,
  ): Promise<ReadResult[]> => {
    if (!tokenizer || !imageTokens) throw new InputError('this checkpoint has no tokenizer: it cannot read');
    const started = performance.now();
    const [height, width] = vary.tower.imageSize;
    const processor = (transform === 'blip' ? blipTransform : testTransform)({ width, height });
    const ids = readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, { prompt, template }));
    const prompts: Prompt[] = [];
    let towerDone = started;
    const streams: TextStream[] = [];
    const texts = images.map(() => '');
    const emit = (row: number, text: string) => {
      if (text === '') return;
      texts[row] += text;
      onText?.(text);
    };
    let rows: GeneratedRow[];
    try {
      for (const image of images) {
        const pixels = processHigh(image, processor);
        const features = await base.features(floatView([1, ...pixels.shape], pixels.data), options.signal);
        prompts.push(...(await promptsOf(parts, [ids], features)));
        streams.push(createTextStream(tokenizer, stop && { stop }));
      }
      towerDone = performance.now();
      rows = await generate(await base.decoder(), prompts, vary.decoder.eosId, {
        stopLoops: true,
        ...options,
        onToken: (row, token) => {
          emit(row, streams[row].push(token));
          return streams[row].stopped() !== undefined;
        },
      });
    } catch (error) {
      if (!(error instanceof AbortedError)) throw error;
      rows = images.map((_, i) => ({ tokens: [], finishReason: 'aborted', prompt: i }));
    }
    const decodeSeconds = (performance.now() - towerDone) / 1000;
    return rows.map(({ tokens, finishReason }, i) => {
      if (streams[i]) emit(i, streams[i].end());
      return {
        text: texts[i],
        finishReason,
        warnings: warningsOf(finishReason),
        usage: { promptTokens: ids.length, completionTokens: tokens.length },
        timing: { tower: (towerDone - started) / 1000, decode: decodeSeconds },
      };
    });
  };

  const lines = vary.input === 'line' ? byLines(parts, vary, base) : undefined;
  const readImages = lines?.readImages ?? readRows;

  return {
    kind: 'vary',
    config: vary,
    tokenizer,
    forward: base.forward,
    generate: base.generate,
    generateRows: base.generateRows,
    dispose: base.dispose,
    read: async (image, options = {}) => (await readImages([image], options))[0],
    readAll: (images, options = {}) => readImages(images, options),
    readPieces: async (images, options = {}) => {
      if (!lines) throw new InputError('readPieces: expected a model of lines, this one reads whole pages');
      return lines.readPieces(images, options);
    },
  };
}
