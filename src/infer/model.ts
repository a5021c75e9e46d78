import { InputError } from '../core/errors.js';
import { expectDType, floatView, sizeOf, type Tensor } from '../core/tensor.js';
import type { Pixels } from '../image/pixels.js';
import { draftBlank, mergedIds } from '../models/draft.js';
import { checkRange, checkRows, type ForwardInput } from '../models/forward-inputs.js';
import { cachedDecoderGraph, type DecoderFamily, towerFeeds, towerGraphs } from '../models/graphs.js';
import { fillerId, type OptConfig } from '../models/opt.js';
import { spliceSources, type VaryConfig } from '../models/vary.js';
import type { Runtime, Session, WeightLoader } from '../runtime/runtime.js';
import type { ImageTokens } from '../text/image-tokens.js';
import type { PromptStyle } from '../text/prompt-style.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type CachedDecoder, createSessionDecoder, type Prompt, type SlotDecoder } from './decoder.js';
import { createEngine, type Engine, type EngineLoad, type EngineModel, type EngineOptions } from './engine.js';
import { type ForwardOutput, forward } from './forward.js';
import { type GeneratedRow, type GenerateOptions, generate } from './generate.js';
import { forksOf, lanesOf, oneLane } from './lanes.js';
import { type PreparedImage, prepareImage, prepareSettings } from './prepare.js';
import type { PromptHistory } from './processors.js';
import { numbersOf, type Precision, type TowerPrecision } from './quantize.js';
import { readPrepared } from './read-prepared.js';
import type { Reader } from './reader.js';
import type { ReadOptions, ReadResult } from './reading.js';

/** What a model is made of; the platform supplies it. */
export interface ModelParts {
  readonly family: DecoderFamily;
  readonly runtime: Runtime;
  readonly weights: WeightLoader;
  /** Of the decoder's matrices. */
  readonly precision: Precision;
  /** Of the tower's and the projector's matrices; default float32. */
  readonly towerPrecision?: TowerPrecision;
  /** Into how many sessions the tower is cut; decoding of others can run between them. */
  readonly towerSegments?: number;
  readonly tokenizer?: Tokenizer;
  readonly imageTokens?: ImageTokens;
  /** How the checkpoint was trained to be asked; default: plainly. */
  readonly promptStyle?: PromptStyle;
  /** How reads share the model. Default: 8 pages or 48 lines together, any number waiting. */
  readonly engine?: EngineOptions;
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
  /** Several images decoded together; each result equals that image's own `read`, with `int4` but where two ids are as likely. */
  readAll(images: readonly Pixels[], options?: Omit<ReadOptions, 'onText'>): Promise<ReadResult[]>;
  /** A picture that `prepareImage` made ready, with `prepareSettings` of the model's config. */
  readPrepared(image: PreparedImage, options?: ReadOptions): Promise<ReadResult>;
  /** Compiles what reading needs now, and not when it is first asked for. */
  compile(): Promise<void>;
  /** How busy reading keeps the model. */
  load(): EngineLoad;
}

/** Throws InputError for a decoder alone. */
function varyOf(family: DecoderFamily): VaryConfig {
  if (family.kind !== 'vary') throw new InputError('this model takes no images');
  return family.vary;
}

/** Sessions are compiled when first needed. `threads` as in CompileOptions. */
function createSessions(parts: ModelParts, threads?: number) {
  const { family, runtime, weights, precision, towerPrecision = 'float32', towerSegments } = parts;
  let tower: Promise<Session[]> | undefined;
  let decoder: Promise<Session> | undefined;
  const shared = { weights, ...(threads !== undefined && { threads }) };
  const compileTower = async (config: VaryConfig) => {
    const sessions: Session[] = [];
    // A page takes a gigabyte beside the weights, for seconds; lines take little, and often.
    const options = { ...shared, releaseAfterRun: config.input === 'page' };
    const numbers = await numbersOf(towerPrecision, runtime);
    const segments = towerSegments === undefined ? {} : { segments: towerSegments };
    try {
      for (const graph of towerGraphs(config, { numbers, ...segments })) {
        sessions.push(await runtime.compile(graph, options));
      }
      return sessions;
    } catch (error) {
      for (const session of sessions) await session.dispose();
      throw error;
    }
  };
  return {
    tower: () => {
      tower ??= compileTower(varyOf(family));
      return tower;
    },
    decoder: () => {
      decoder ??= numbersOf(precision, runtime).then((numbers) =>
        runtime.compile(cachedDecoderGraph(family, numbers), shared),
      );
      return decoder;
    },
    dispose: async () => {
      for (const session of (await tower?.catch(() => [])) ?? []) await session.dispose();
      await (await decoder?.catch(() => undefined))?.dispose();
    },
  };
}

const decoderOver = (session: Session, { kind, decoder: { width, maxPositions } }: DecoderFamily) =>
  createSessionDecoder(session, { width, maxPositions, withImages: kind === 'vary' });

/** What all models have in common. */
function createBase(parts: ModelParts) {
  const { family, runtime, weights } = parts;
  const sessions = createSessions(parts);
  let disposed = false;
  const expectAlive = () => {
    if (disposed) throw new InputError('this model was disposed');
  };
  const decoder = async (): Promise<CachedDecoder & SlotDecoder> => {
    expectAlive();
    return decoderOver(await sessions.decoder(), family);
  };
  /** Tower features of images [N, 3, H, W]: float32 [N, T, C]. */
  const features = async (pixels: Tensor, signal?: AbortSignal): Promise<Tensor<'float32'>> => {
    expectAlive();
    const vary = varyOf(family);
    const parts: Float32Array[] = [];
    const [images, ...shape] = pixels.shape;
    if (images === 0) throw new InputError('pixelValues: expected at least one image, got none');
    const { data: values } = expectDType(pixels, 'float32', 'pixelValues');
    const size = values.length / images;
    const together = imagesTogether(size);
    for (let i = 0; i < images; i += together) {
      const some = values.subarray(i * size, Math.min(images, i + together) * size);
      let x: Tensor = floatView([some.length / size, ...shape], some);
      for (const [part, session] of (await sessions.tower()).entries()) {
        const feeds = towerFeeds(vary, part, x);
        x = (await session.run(feeds, { outputs: ['x.out'], ...(signal && { signal }) }))['x.out'];
      }
      parts.push(x.data as Float32Array);
    }
    const data = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      data.set(part, at);
      at += part.length;
    }
    const { width } = family.decoder;
    return floatView([images, data.length / images / width, width], data);
  };
  const generateRows = async ({ inputIds, attentionMask, pixelValues }: GenerateInput, options?: GenerateOptions) => {
    const mask = attentionMask ?? inputIds.map((row) => row.map(() => 1));
    if (inputIds.length === 0) throw new InputError('inputIds: expected at least one row');
    checkRows('attentionMask', mask, inputIds);
    checkRange('inputIds', inputIds, family.decoder.vocabSize);
    const rows = inputIds.map((row, i) => row.filter((_, t) => mask[i][t]));
    const prompts = promptsOf(parts, rows, pixelValues && (await features(pixelValues, options?.signal)));
    const histories = inputIds.map((ids, i) => historyOf(ids, mask[i]));
    return generate(await decoder(), prompts, family.decoder.eosIds, options, histories);
  };
  const generateIds: OptModel['generate'] = async (input, options) => {
    const rows = await generateRows(input, options);
    const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
    const filler = fillerId(family.decoder);
    return rows.map(({ tokens, prompt }) => [
      ...input.inputIds[prompt],
      ...tokens,
      ...Array<number>(longest - tokens.length).fill(filler),
    ]);
  };
  return {
    tokenizer: parts.tokenizer,
    decoder,
    sessions,
    expectAlive,
    generateRows,
    generate: generateIds,
    forward: async (input: ForwardInput) => {
      expectAlive();
      const numbers = await numbersOf(parts.precision, runtime);
      const towerNumbers = await numbersOf(parts.towerPrecision ?? 'float32', runtime);
      return forward(runtime, weights, family, input, { numbers, towerNumbers });
    },
    dispose: async () => {
      if (disposed) return;
      disposed = true;
      await sessions.dispose();
      parts.close();
    },
  };
}

/** What stands before a row's first new id: nothing of the padding behind it. */
const historyOf = (ids: readonly number[], mask: readonly number[]): PromptHistory => ({
  ids: ids.slice(0, mask.findLastIndex(Boolean) + 1),
  padding: Math.max(0, mask.findIndex(Boolean)),
});

/**
 * Values of images that the tower takes in one run, at most, unless one image alone has more: three whole lines of the built-in reader. More
 * of them are no quicker, and what a run takes beside the weights grows with them in every lane.
 */
const pixelsAtOnce = 3 * 3 * 32 * 384;

/** Pages one at a time, for the memory; lines together, since one is little work. */
const imagesTogether = (size: number): number => Math.max(1, Math.floor(pixelsAtOnce / size));

/** Unpadded rows with the places of their images, of which `features` [images, T, C] are. */
function promptsOf(
  { family }: Pick<ModelParts, 'family'>,
  rows: readonly (readonly number[])[],
  features: Tensor<'float32'> | undefined,
): Prompt[] {
  if (family.kind !== 'vary') return rows.map((ids) => ({ ids }));
  const [images, perImage, width] = features?.shape ?? [0, family.vary.imageTokens.count, 0];
  const imageTokens = { ...family.vary.imageTokens, count: perImage };
  let used = 0;
  const prompts = rows.map((ids): Prompt => {
    if (!ids.includes(imageTokens.patch)) return { ids };
    const count = ids.filter((id) => id === imageTokens.start).length;
    if (count > 0 && !features) throw new InputError(`a prompt has ${count} images, none were given`);
    const first = used * perImage;
    used += count;
    if (used > images) throw new InputError(`the prompts have more <img> than the ${images} images given`);
    const [source] = spliceSources([ids], imageTokens, count);
    if (count === 0 || !features) return { ids };
    const own = features.data.subarray(first * width, (first + count * perImage) * width);
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

/** A model as the lanes of a scheduler see it; one that reads lines is small and has several, of sessions that are theirs alone. */
async function openLanes(parts: ModelParts, config: VaryConfig, whole: ReturnType<typeof createSessions>) {
  const { count, threads } = config.input === 'line' ? lanesOf(parts.runtime) : oneLane;
  const own = count === 1 ? undefined : createSessions(parts, threads);
  const sessions = own ?? whole;
  try {
    await sessions.decoder();
    await sessions.tower();
  } catch (error) {
    await own?.dispose();
    throw error;
  }
  // Forks: what one part lends must stay until the next has taken it, whoever else asks the model for something.
  const decoders = forksOf(await sessions.decoder(), count);
  const stages = (await sessions.tower()).map((session) => forksOf(session, count));
  const lanes = decoders.map(
    (decoder, lane): EngineModel => ({
      decoder: decoderOver(decoder, parts.family),
      tower: stages.map((stage, part): EngineModel['tower'][number] => async (x, signal) => {
        const lend = part + 1 < stages.length;
        const { 'x.out': next, draft } = await stage[lane].run(towerFeeds(config, part, x), {
          lend,
          ...(signal && { signal }),
        });
        return { x: next, ...(draft && { drafts: draftsOf(draft as Tensor<'int64'>, config) }) };
      }),
      towerImages: (shape) => imagesTogether(sizeOf(shape)),
      promptOf: (ids, features) => promptsOf(parts, [ids], floatView([1, ...features.shape], features.data))[0],
    }),
  );
  const dispose = async () => {
    for (const session of [...decoders, ...stages.flat()]) await session.dispose();
    await own?.dispose();
  };
  return { lanes, dispose };
}

/** What a tower's columns [images, columns] say of each image. */
function draftsOf({ shape: [images, columns], data }: Tensor<'int64'>, config: VaryConfig): number[][] {
  const blank = draftBlank(config);
  return Array.from({ length: images }, (_, i) => mergedIds(data.subarray(i * columns, (i + 1) * columns), blank));
}

/** A Vary model; throws InputError for an OPT family. */
export function createVaryModel(parts: ModelParts): VaryModel {
  const { family, tokenizer, imageTokens, promptStyle } = parts;
  if (family.kind !== 'vary') throw new InputError('not a vary checkpoint');
  const { vary } = family;
  const base = createBase(parts);
  const { slots = vary.input === 'line' ? 48 : 8, maxWaiting = Number.POSITIVE_INFINITY } = parts.engine ?? {};
  let engine: Promise<Engine> | undefined;
  let running: Engine | undefined;
  let disposeLanes: (() => Promise<void>) | undefined;
  const openEngine = async (): Promise<Engine> => {
    const { lanes, dispose } = await openLanes(parts, vary, base.sessions);
    disposeLanes = dispose;
    running = createEngine(lanes, { slots, maxWaiting });
    return running;
  };
  const theEngine = (): Promise<Engine> => {
    engine ??= openEngine();
    return engine;
  };
  const openReader = async (): Promise<Reader> => {
    base.expectAlive();
    if (!tokenizer || !imageTokens) throw new InputError('this checkpoint has no tokenizer: it cannot read');
    return { config: vary, tokenizer, imageTokens, promptStyle, engine: await theEngine() };
  };
  const read: VaryModel['read'] = async (image, options) => {
    const reader = await openReader();
    return readPrepared(reader, prepareImage(image, prepareSettings(vary, options)), options);
  };
  return {
    kind: 'vary',
    config: vary,
    tokenizer,
    forward: base.forward,
    generate: base.generate,
    generateRows: base.generateRows,
    read,
    readAll: (images, options) => Promise.all(images.map((image) => read(image, options))),
    readPrepared: async (image, options) => readPrepared(await openReader(), image, options),
    compile: async () => {
      base.expectAlive();
      await theEngine();
    },
    load: () => running?.load() ?? { slots, usedSlots: 0, running: 0, waiting: 0 },
    dispose: async () => {
      // One that is still compiled would go on with files that are closed.
      await engine?.catch(() => undefined);
      await running?.close();
      await disposeLanes?.();
      await base.dispose();
    },
  };
}
