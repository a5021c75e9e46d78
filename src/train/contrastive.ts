/** Contrastive training of two towers (CLIP, arXiv 2103.00020; SigLIP, arXiv 2303.15343), with several pictures to a text if wanted. */
import { InputError } from '../core/errors.js';
import { floats, type Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import { createGraphBuilder, type Graph, type ParameterSpec, plainLowering, zerosInit } from '../graph/builder.js';
import { add, matMulTransposed, mul, scale } from '../graph/functions.js';
import { logitFactor } from '../models/clip.js';
import {
  imageGraph,
  nativeSize,
  similarityGraph,
  similarityLogits,
  type TwoTowerConfig,
  textGraph,
} from '../models/clip-graphs.js';
import { checkPixels, textFeeds } from '../models/clip-inputs.js';
import { sigmoidLoss, softCrossEntropy } from '../nn/contrastive-loss.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type Arenas, parameterSpecs, viewSlot } from './arena.js';
import { compileForTraining } from './bound-graph.js';
import type { Joined, JointTask, Piece } from './joint-task.js';
import type { Peers } from './peers.js';

/** Pictures and texts that belong together where their labels are equal. */
export interface ContrastiveBatch {
  /** float32 [images, 3, H, W] */
  readonly pixelValues: Tensor<'float32'>;
  readonly imageLabels: readonly number[];
  /** Rows of equal length. */
  readonly inputIds: readonly (readonly number[])[];
  /** 1 for tokens, 0 for padding; SigLIP takes none. */
  readonly attentionMask?: readonly (readonly number[])[];
  readonly textLabels: readonly number[];
}

export interface ContrastiveOptions {
  /** Most images, and most texts, that a tower takes at once; each further chunk runs forward twice. Default: all. */
  readonly chunkSize?: number;
  /** Weight of a loss that draws pictures with equal labels together, beside the one of pictures and texts. Default 0. */
  readonly imageWeight?: number;
}

/** The largest logarithm of CLIP's factor of similarities: a factor of 100. */
export const maxLogitScale: number = Math.log(100);

/**
 * All rows of a step, of all processes together, are compared with each other. Without chunks and processes, and with a label
 * to each pair, the loss is CLIP's (or SigLIP's).
 */
export function contrastiveTask(
  config: TwoTowerConfig,
  runtime: Runtime,
  { chunkSize = Number.POSITIVE_INFINITY, imageWeight = 0 }: ContrastiveOptions = {},
): JointTask<ContrastiveBatch> {
  const losses = createLosses(config, runtime, imageWeight);
  return {
    parameters: contrastiveParameters(config),
    limits: { logit_scale: maxLogitScale },
    count: ({ imageLabels }) => imageLabels.length,
    pieces: (parts) => [
      ...parts.flatMap((part) => imagePieces(config, part, chunkSize)),
      ...parts.flatMap((part) => textPieces(config, part, chunkSize)),
    ],
    join: async (outputs, { parts, arenas, peers }) => {
      const imageLabels = parts.flatMap((part) => part.imageLabels);
      const textLabels = parts.flatMap((part) => part.textLabels);
      const isImage = startsOf(outputs).map((start) => start < imageLabels.length);
      const own = {
        images: stackRows(outputs.filter((_, i) => isImage[i])),
        texts: stackRows(outputs.filter((_, i) => !isImage[i])),
        imageLabels: Float64Array.from(imageLabels),
        textLabels: Float64Array.from(textLabels),
      };
      const all = peers ? await gatherRows(own, peers) : own;
      return shareOf(await losses.evaluate(all, arenas), { own, peers, outputs, isImage });
    },
    dispose: losses.dispose,
  };
}

/** Everything of both towers and of the similarities. */
function contrastiveParameters(config: TwoTowerConfig): readonly ParameterSpec[] {
  const graphs = [
    imageGraph(config, nativeSize(config), { training: [1] }),
    textGraph(config, { training: [1, config.text.maxPositions] }),
    similarityGraph(config),
  ];
  return graphs.flatMap(parameterSpecs);
}

interface Rows {
  /** [N, E] and [M, E]. */
  readonly images: Tensor<'float32'>;
  readonly texts: Tensor<'float32'>;
  readonly imageLabels: Float64Array;
  readonly textLabels: Float64Array;
}

const chunksOf = (count: number, size: number): (readonly [number, number])[] =>
  Array.from(
    { length: Math.ceil(count / size) || 1 },
    (_, i) => [i * size, Math.min(count, (i + 1) * size)] as const,
  ).map(([from, to]) => (Number.isFinite(size) ? ([from, to] as const) : ([0, count] as const)));

function imagePieces(config: TwoTowerConfig, { pixelValues, imageLabels }: ContrastiveBatch, chunk: number): Piece[] {
  const [height, width] = checkPixels(config, pixelValues);
  const { shape, data } = pixelValues;
  if (imageLabels.length !== shape[0]) {
    throw new InputError(`training: ${shape[0]} images have ${imageLabels.length} labels`);
  }
  const size = data.length / shape[0];
  return chunksOf(shape[0], chunk).map(([from, to]) => ({
    key: `${to - from} images ${height}×${width}`,
    output: 'embeds',
    graph: () => imageGraph(config, [height, width], { training: [to - from] }),
    feeds: { pixelValues: floats([to - from, ...shape.slice(1)], data.subarray(from * size, to * size)) },
  }));
}

function textPieces(
  config: TwoTowerConfig,
  { inputIds, attentionMask, textLabels }: ContrastiveBatch,
  chunk: number,
): Piece[] {
  if (textLabels.length !== inputIds.length) {
    throw new InputError(`training: ${inputIds.length} texts have ${textLabels.length} labels`);
  }
  const length = inputIds[0]?.length ?? 0;
  return chunksOf(inputIds.length, chunk).map(([from, to]) => ({
    key: `${to - from} texts ${length}`,
    output: 'embeds',
    graph: () => textGraph(config, { training: [to - from, length] }),
    feeds: textFeeds(config, inputIds.slice(from, to), attentionMask?.slice(from, to)),
  }));
}

/** Row numbers at which tensors begin when they stand under each other. */
function startsOf(tensors: readonly Tensor[]): number[] {
  let at = 0;
  return tensors.map(({ shape }) => {
    at += shape[0];
    return at - shape[0];
  });
}

function stackRows(tensors: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const rows = tensors.reduce((sum, { shape }) => sum + shape[0], 0);
  const [, width] = tensors[0].shape;
  const data = new Float32Array(rows * width);
  startsOf(tensors).forEach((start, i) => {
    data.set(tensors[i].data, start * width);
  });
  return floats([rows, width], data);
}

async function gatherRows(own: Rows, peers: Peers): Promise<Rows> {
  const sizes = [own.images.shape[0], own.texts.shape[0]];
  const all = await peers.gather(Float64Array.from(sizes));
  if (all.some((size, i) => size !== sizes[i % 2])) {
    throw new InputError(
      `training: every process needs as many images and texts as the others, got ${Array.from(all).join(', ')}`,
    );
  }
  const gather = async ({ shape, data }: Tensor<'float32'>) =>
    floats([shape[0] * peers.size, shape[1]], await peers.gather(data));
  return {
    images: await gather(own.images),
    texts: await gather(own.texts),
    imageLabels: await peers.gather(own.imageLabels),
    textLabels: await peers.gather(own.textLabels),
  };
}

interface Evaluated {
  readonly loss: number;
  readonly images: Float32Array;
  readonly texts: Float32Array;
  readonly ownGradients: Joined['ownGradients'];
}

/** This process's part of a loss over all rows. */
function shareOf(
  { loss, images, texts, ownGradients }: Evaluated,
  {
    own,
    peers,
    outputs,
    isImage,
  }: { own: Rows; peers: Peers | undefined; outputs: readonly Tensor[]; isImage: readonly boolean[] },
): Joined {
  const { rank, size } = peers ?? { rank: 0, size: 1 };
  const width = own.images.shape[1];
  const at = { image: rank * own.images.data.length, text: rank * own.texts.data.length };
  const gradients = outputs.map(({ shape }, i) => {
    const [of, from] = isImage[i] ? (['image', images] as const) : (['text', texts] as const);
    const start = at[of];
    at[of] += shape[0] * width;
    return floats(shape, from.subarray(start, at[of]));
  });
  return { loss: loss / size, gradients, ownGradients };
}

/** The loss over embeddings, compiled for each number of rows. */
function createLosses(config: TwoTowerConfig, runtime: Runtime, imageWeight: number) {
  const sessions = new Map<string, Promise<Session>>();
  const own = parameterSpecs(similarityGraph(config));
  return {
    evaluate: async ({ images, texts, imageLabels, textLabels }: Rows, arenas: Arenas): Promise<Evaluated> => {
      const [N, M] = [images.shape[0], texts.shape[0]];
      const key = `${N}×${M}`;
      const known = sessions.get(key) ?? compileForTraining(runtime, lossGraph(config, [N, M], imageWeight));
      sessions.set(key, known);
      const session = await known;
      const feeds: Record<string, Tensor> = {
        images,
        texts,
        ...lossFeeds(config, imageLabels, textLabels, imageWeight),
      };
      for (const { name } of own) {
        const slot = arenas.layout.slots.get(name);
        if (slot) feeds[name] = viewSlot(arenas.parameters, slot);
      }
      const results = await session.run(feeds);
      return {
        loss: Number(results['loss'].data[0]),
        images: results[gradientName('images')].data as Float32Array,
        texts: results[gradientName('texts')].data as Float32Array,
        ownGradients: Object.fromEntries(own.map(({ name }) => [name, results[gradientName(name)]])),
      };
    },
    dispose: async () => {
      for (const session of sessions.values()) await (await session).dispose();
      sessions.clear();
    },
  };
}

/**
 * The loss of unit vectors images [N, E] and texts [M, E], with its gradients by them and by the similarities' parameters. Takes
 * the shares of `lossFeeds`.
 */
function lossGraph(config: TwoTowerConfig, [N, M]: readonly [number, number], imageWeight: number): Graph {
  const builder = createGraphBuilder('contrastive', plainLowering);
  const { root } = builder;
  const images = root.parameter('images', [N, config.embedWidth], zerosInit);
  const texts = root.parameter('texts', [M, config.embedWidth], zerosInit);
  const logits = similarityLogits(root, images, texts, config);
  const input = (name: string, shape: readonly number[]) => builder.input(name, 'float32', shape);
  let loss =
    config.family === 'clip'
      ? softCrossEntropy(root, logits, { rows: input('rowShares', [N, M]), columns: input('columnShares', [N, M]) })
      : sigmoidLoss(root, logits, input('signs', [N, M]), input('count', []));
  if (imageWeight > 0) {
    const alike = mul(root, matMulTransposed(root, images, images), logitFactor(root, ...factorOf(config)));
    const others = add(root, alike, input('ownImage', [N, N]));
    loss = add(
      root,
      loss,
      scale(root, softCrossEntropy(root, others, { rows: input('imageShares', [N, N]) }), imageWeight),
    );
  }
  builder.output('loss', loss);
  return differentiate(builder.finish());
}

const factorOf = (config: TwoTowerConfig): [readonly number[], number] =>
  config.family === 'clip' ? [[], config.logitScale] : [[1], Math.log(10)];

/** What keeps an image from being its own partner. */
const never = -1e9;

/** Each row's and each column's share of its partners, or the signs of pairs. */
function lossFeeds(
  { family }: TwoTowerConfig,
  images: Float64Array,
  texts: Float64Array,
  imageWeight: number,
): Record<string, Tensor> {
  const [N, M] = [images.length, texts.length];
  const feeds: Record<string, Tensor> =
    family === 'clip'
      ? {
          rowShares: sharesOf(images, texts),
          columnShares: floats([N, M], transposed(sharesOf(texts, images))),
        }
      : {
          signs: floats(
            [N, M],
            Float32Array.from({ length: N * M }, (_, at) => (images[Math.floor(at / M)] === texts[at % M] ? 1 : -1)),
          ),
          count: floats([], [N]),
        };
  if (imageWeight === 0) return feeds;
  const diagonal = new Float32Array(N * N);
  for (let i = 0; i < N; i++) diagonal[i * (N + 1)] = never;
  return { ...feeds, ownImage: floats([N, N], diagonal), imageShares: sharesOf(images, images, true) };
}

/** For every row equal shares among the columns with its label, 1 in all over all rows that have such a column: [rows, columns]. */
function sharesOf(rows: Float64Array, columns: Float64Array, notItself = false): Tensor<'float32'> {
  const [N, M] = [rows.length, columns.length];
  const data = new Float32Array(N * M);
  let counted = 0;
  for (let i = 0; i < N; i++) {
    const partners = [];
    for (let j = 0; j < M; j++) if (rows[i] === columns[j] && !(notItself && i === j)) partners.push(i * M + j);
    for (const at of partners) data[at] = 1 / partners.length;
    if (partners.length > 0) counted++;
  }
  for (let at = 0; at < data.length; at++) data[at] /= Math.max(1, counted);
  return floats([N, M], data);
}

function transposed({ shape: [N, M], data }: Tensor<'float32'>): Float32Array {
  return Float32Array.from({ length: N * M }, (_, at) => data[(at % N) * M + Math.floor(at / N)]);
}
