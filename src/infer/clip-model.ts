import { InputError } from '../core/errors.js';
import { createQueue } from '../core/queue.js';
import type { Tensor } from '../core/tensor.js';
import type { Graph, NumberFormat } from '../graph/builder.js';
import { type ClipProcessor, processClip, seenRegion } from '../image/clip-processor.js';
import type { Box, Pixels } from '../image/pixels.js';
import {
  imageGraph,
  nativeSize,
  patchGraph,
  similarityGraph,
  type TwoTowerConfig,
  textGraph,
} from '../models/clip-graphs.js';
import { checkPixels, textFeeds } from '../models/clip-inputs.js';
import type { Runtime, Session, WeightLoader } from '../runtime/runtime.js';
import { padRows } from '../text/collate.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type ClipForwardInput, type ClipForwardOutput, clipForward } from './clip-forward.js';
import { averageGroups, type Classification, type LabelOptions, rankLabels, writeLabels } from './labels.js';
import { forksOf, type Lanes, lanesOf, oneLane } from './lanes.js';
import { numbersOf, type Precision } from './quantize.js';

/** What a two-tower model is made of; the platform supplies it. */
export interface ClipParts {
  readonly config: TwoTowerConfig;
  readonly runtime: Runtime;
  readonly weights: WeightLoader;
  readonly precision: Precision;
  readonly processor: ClipProcessor;
  readonly tokenizer?: Tokenizer;
  /** Called once when the model is disposed. */
  readonly close: () => void;
}

export interface TextOptions {
  /** Cut texts that have more tokens than the model has positions; otherwise they are an InputError. Default false. */
  readonly truncate?: boolean;
}

/** Unit vectors float32 [texts, E]. */
export interface TextEmbeds extends Tensor<'float32'> {
  /** Numbers of the texts that were cut. */
  readonly truncated: readonly number[];
  /** Tokens of all texts. */
  readonly tokens: number;
}

export interface RunSignal {
  readonly signal?: AbortSignal;
}

/** How like a text the patches of an image are. */
export interface Located {
  /** Cosines, float32 [rows, columns] of patches. */
  readonly similarities: Tensor<'float32'>;
  /** The part of the image that the patches cover, in its pixels. */
  readonly region: Box;
}

/** Labels embedded once, for many images. */
export interface Classifier {
  readonly labels: readonly string[];
  /** Labels by falling score; for SigLIP each score is a probability of its own, for CLIP they add up to 1. */
  classify(image: Pixels, options?: RunSignal): Promise<Classification[]>;
}

export interface ClipModel {
  readonly kind: 'clip';
  readonly config: TwoTowerConfig;
  readonly tokenizer: Tokenizer | undefined;
  readonly processor: ClipProcessor;
  readonly precision: Precision;
  /** Unit vectors float32 [images, E]. */
  embedImages(images: readonly Pixels[], options?: RunSignal): Promise<Tensor<'float32'>>;
  /** The same for pixels that are prepared: float32 [images, 3, H, W]. */
  embedPixels(pixelValues: Tensor, options?: RunSignal): Promise<Tensor<'float32'>>;
  /** A unit vector for every patch of prepared pixels: float32 [images, h·w, E]. */
  embedPatches(pixelValues: Tensor, options?: RunSignal): Promise<Tensor<'float32'>>;
  embedTexts(texts: readonly string[], options?: TextOptions & RunSignal): Promise<TextEmbeds>;
  /** Scaled similarities of unit vectors: [images, texts]. */
  similarities(images: Tensor, texts: Tensor): Promise<Tensor<'float32'>>;
  createClassifier(labels: readonly string[], options?: LabelOptions & RunSignal): Promise<Classifier>;
  classify(image: Pixels, labels: readonly string[], options?: LabelOptions & RunSignal): Promise<Classification[]>;
  /** Where in an image a text is: how like it each patch is. Several texts are averaged. */
  locate(image: Pixels, text: string | readonly string[], options?: TextOptions & RunSignal): Promise<Located>;
  forward(input: ClipForwardInput): Promise<ClipForwardOutput>;
  /** Compiles what embedding needs now, and not when it is first asked for. */
  compile(): Promise<void>;
  dispose(): Promise<void>;
}

/** Images and texts that go through a tower at once. */
const batchSize = 8;

/** Multiplications of a picture up to which a tower is small: a millisecond of one core. */
const smallWork = 1e8;

/** Multiplications of the image tower for a picture of the given size, nearly. */
function imageWork({ vision }: TwoTowerConfig, [height, width]: readonly [number, number]): number {
  const patches = (height * width) / vision.patchSize ** 2;
  return vision.layers * patches * (4 * vision.width ** 2 + 2 * vision.width * vision.mlpWidth);
}

/** Sessions are compiled when first needed; of the image tower's only those for the last size are kept. */
function createSessions({ config, runtime, weights, precision }: ClipParts) {
  const kept = new Map<string, { readonly key: string; readonly sessions: Promise<readonly Session[]> }>();
  const compile = async (graphOf: (numbers: NumberFormat) => Graph, { count, threads }: Lanes = oneLane) => {
    const graph = graphOf(await numbersOf(precision, runtime));
    const session = await runtime.compile(graph, { weights, ...(threads !== undefined && { threads }) });
    return [session, ...forksOf(session, count - 1)];
  };
  const disposeAll = async (sessions: Promise<readonly Session[]> | undefined) => {
    for (const session of (await sessions?.catch(() => undefined)) ?? []) await session.dispose();
  };
  const get = async (role: string, key: string, compile: () => Promise<readonly Session[]>) => {
    const known = kept.get(role);
    if (known?.key === key) return known.sessions;
    const sessions = compile();
    kept.set(role, { key, sessions });
    await disposeAll(known?.sessions);
    return sessions;
  };
  const one = async (sessions: Promise<readonly Session[]>): Promise<Session> => (await sessions)[0];
  return {
    /** One for each lane. */
    image: (size: readonly [number, number]) =>
      get('image', size.join('×'), () =>
        compile(
          (numbers) => imageGraph(config, size, { numbers }),
          imageWork(config, size) > smallWork ? oneLane : lanesOf(runtime),
        ),
      ),
    patches: (size: readonly [number, number]) =>
      get('patches', size.join('×'), () => compile((numbers) => patchGraph(config, size, { numbers }))),
    text: () => one(get('text', '', () => compile((numbers) => textGraph(config, { numbers })))),
    similarity: () => one(get('similarity', '', () => compile(() => similarityGraph(config)))),
    dispose: async () => {
      for (const { sessions } of kept.values()) await disposeAll(sessions);
      kept.clear();
    },
  };
}

/** Rows [start, end) of the first axis, sharing memory. */
function rowsOf({ shape, data }: Tensor, start: number, end: number): Tensor<'float32'> {
  const size = data.length / shape[0];
  const part = (data as Float32Array).subarray(start * size, end * size);
  return { dtype: 'float32', shape: [end - start, ...shape.slice(1)], data: part };
}

/** Tensors of equal rows under each other. */
function stack(parts: readonly Tensor[], shape: readonly number[]): Tensor<'float32'> {
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return { dtype: 'float32', shape, data };
}

/** Ids of texts, numbered from `first`; which of them were cut. Throws InputError for a text that is too long. */
function encodeTexts(
  tokenizer: Tokenizer | undefined,
  texts: readonly string[],
  maxLength: number,
  { truncate = false, first = 0 }: TextOptions & { readonly first?: number },
): { readonly rows: number[][]; readonly truncated: number[] } {
  if (!tokenizer) throw new InputError('this checkpoint has no tokenizer that is known here: give inputIds to forward');
  const truncated: number[] = [];
  const rows = texts.map((text, i) => {
    const ids = tokenizer.encode(text);
    if (ids.length <= maxLength) return ids;
    if (!truncate) {
      throw new InputError(
        `text ${first + i} (${JSON.stringify(text.slice(0, 40))}): has ${ids.length} tokens, the model takes ${maxLength}; shorten it or set truncate (--truncate)`,
      );
    }
    truncated.push(first + i);
    return tokenizer.encode(text, { maxLength, truncate: true });
  });
  return { rows, truncated };
}

/**
 * Feeds for rows of ids that end with the end token. CLIP's are padded to the longest and masked; SigLIP's are padded to all positions with
 * an id that its text tower attends to and was trained with.
 */
function paddedFeeds(
  config: TwoTowerConfig,
  rows: readonly (readonly number[])[],
  tokenizer: Tokenizer | undefined,
): Record<string, Tensor> {
  const padId = textPadId(config, rows[0], tokenizer);
  if (config.family === 'clip') {
    const { inputIds, attentionMask } = padRows(rows, { padId });
    return textFeeds(config, inputIds, attentionMask);
  }
  const { maxPositions } = config.text;
  return textFeeds(
    config,
    rows.map((row) => [...row, ...Array<number>(maxPositions - row.length).fill(padId)]),
  );
}

/** What a text is padded with: for CLIP anything, since that is masked; the end is an id of the vocabulary. */
export const textPadId = (
  { family }: TwoTowerConfig,
  row: readonly number[],
  tokenizer: Tokenizer | undefined,
): number => (family === 'siglip' ? tokenizer?.special.pad : undefined) ?? row[row.length - 1];

type ImageSessions = (size: readonly [number, number]) => Promise<readonly Session[]>;

/** Embeds of the first images of pixels [images, 3, H, W]: of a batch for each lane, all at once. */
async function embedOnLanes(lanes: readonly Session[], pixels: Tensor, options: RunSignal): Promise<readonly Tensor[]> {
  const count = pixels.shape[0];
  const together = Math.min(batchSize, Math.ceil(count / lanes.length));
  const runs = lanes
    .slice(0, Math.ceil(count / together))
    .map((session, i) =>
      session.run({ pixelValues: rowsOf(pixels, i * together, Math.min(count, (i + 1) * together)) }, options),
    );
  // Where one fails none may still run when the next task begins.
  await Promise.allSettled(runs);
  return (await Promise.all(runs)).map(({ embeds }) => embeds);
}

/** Embeds of all images of pixels, of which `embedFirst` embeds the first ones; others have their turn between its calls. */
async function embedInTurns(
  pixels: Tensor,
  embedFirst: (rest: Tensor) => Promise<readonly Tensor[]>,
): Promise<Tensor<'float32'>> {
  const count = pixels.shape[0];
  const embeds: Tensor[] = [];
  for (let at = 0; at < count; ) {
    const some = await embedFirst(rowsOf(pixels, at, count));
    embeds.push(...some);
    at += some.reduce((sum, { shape }) => sum + shape[0], 0);
  }
  return stack(embeds, [count, ...embeds[0].shape.slice(1)]);
}

/** The towers, run one batch after the other. */
function createTowers(parts: ClipParts) {
  const { config, processor, tokenizer } = parts;
  const sessions = createSessions(parts);
  // A session is not replaced while another task uses it.
  const enqueue = createQueue();
  const { embedWidth } = config;
  let disposed = false;
  const expectAlive = () => {
    if (disposed) throw new InputError('this model was disposed');
  };

  const embedWith = async (pixels: Tensor, open: ImageSessions, options: RunSignal): Promise<Tensor<'float32'>> => {
    expectAlive();
    const size = checkPixels(config, pixels);
    return embedInTurns(pixels, (rest) => enqueue(async () => embedOnLanes(await open(size), rest, options)));
  };
  const embedPixels: ClipModel['embedPixels'] = (pixels, options = {}) => embedWith(pixels, sessions.image, options);
  const embedPatches: ClipModel['embedPatches'] = (pixels, options = {}) =>
    embedWith(pixels, sessions.patches, options);

  const embedImages: ClipModel['embedImages'] = async (images, options) => {
    if (images.length === 0) throw new InputError('images: expected at least one');
    const embeds: Tensor[] = [];
    for (let at = 0; at < images.length; ) {
      // Images of one size go together: without a centre crop they may differ.
      const first = processClip(images[at], processor);
      const batch = [first];
      while (batch.length < batchSize && at + batch.length < images.length) {
        const next = processClip(images[at + batch.length], processor);
        if (String(next.shape) !== String(first.shape)) break;
        batch.push(next);
      }
      embeds.push(await embedPixels(stack(batch, [batch.length, ...first.shape]), options));
      at += batch.length;
    }
    return stack(embeds, [images.length, embedWidth]);
  };

  const embedTexts: ClipModel['embedTexts'] = async (texts, { truncate = false, ...options } = {}) => {
    expectAlive();
    if (texts.length === 0) throw new InputError('texts: expected at least one');
    const embeds: Tensor[] = [];
    const truncated: number[] = [];
    let tokens = 0;
    // Tokens are found batch by batch: that takes time, in which nobody else gets any.
    for (let at = 0; at < texts.length; at += batchSize) {
      const some = texts.slice(at, at + batchSize);
      const encoded = encodeTexts(tokenizer, some, config.text.maxPositions, { truncate, first: at });
      truncated.push(...encoded.truncated);
      tokens += encoded.rows.reduce((sum, row) => sum + row.length, 0);
      const feeds = paddedFeeds(config, encoded.rows, tokenizer);
      embeds.push((await enqueue(async () => (await sessions.text()).run(feeds, options)))['embeds']);
    }
    return { ...stack(embeds, [texts.length, embedWidth]), truncated, tokens };
  };

  const similarities: ClipModel['similarities'] = async (images, texts) => {
    expectAlive();
    const { logits } = await enqueue(async () => (await sessions.similarity()).run({ images, texts }));
    return logits as Tensor<'float32'>;
  };

  const compile = async () => {
    expectAlive();
    await enqueue(() => Promise.all([sessions.image(nativeSize(config)), sessions.text(), sessions.similarity()]));
  };
  const dispose = async () => {
    if (disposed) return;
    disposed = true;
    await enqueue(sessions.dispose);
    parts.close();
  };
  return { embedPixels, embedPatches, embedImages, embedTexts, similarities, expectAlive, compile, dispose };
}

/** A CLIP or SigLIP model. */
export function createClipModel(parts: ClipParts): ClipModel {
  const { config, runtime, weights, tokenizer, processor, precision } = parts;
  const { expectAlive, ...towers } = createTowers(parts);
  const { embedImages, embedTexts, similarities } = towers;

  const createClassifier: ClipModel['createClassifier'] = async (labels, { template, ...options } = {}) => {
    const written = writeLabels(labels, template === undefined ? {} : { template });
    const texts = written.average(await embedTexts(written.texts, options));
    return {
      labels,
      classify: async (image, run) => {
        const logits = await similarities(await embedImages([image], run), texts);
        return rankLabels(labels, logits.data, config.family);
      },
    };
  };

  const locate: ClipModel['locate'] = async (image, text, options = {}) => {
    const texts = typeof text === 'string' ? [text] : text;
    const { data: words } = averageGroups(await embedTexts(texts, options), texts.length);
    const pixels = processClip(image, processor);
    const { patchSize } = config.vision;
    const [rows, columns] = pixels.shape.slice(1).map((side) => Math.floor(side / patchSize));
    const { data: patches } = await towers.embedPatches({ ...pixels, shape: [1, ...pixels.shape] }, options);
    const cosines = Float32Array.from({ length: rows * columns }, (_, patch) =>
      words.reduce((sum, x, i) => sum + x * patches[patch * words.length + i], 0),
    );
    const similarities: Tensor<'float32'> = { dtype: 'float32', shape: [rows, columns], data: cosines };
    return { similarities, region: seenRegion(image, processor) };
  };

  return {
    kind: 'clip',
    config,
    tokenizer,
    processor,
    precision,
    ...towers,
    createClassifier,
    locate,
    classify: async (image, labels, options) => (await createClassifier(labels, options)).classify(image, options),
    forward: (input) => {
      expectAlive();
      return clipForward(runtime, weights, config, input);
    },
  };
}
