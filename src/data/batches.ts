import { InputError, messageOf } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { type Batch, collate } from '../text/collate.js';
import type { Order } from './order.js';
import type { PreparedSample } from './sample.js';

export interface BadSample {
  readonly where: string;
  readonly problem: string;
}

/** One training step's input. A batch whose samples are all broken has no rows. */
export interface TrainingBatch extends Batch {
  readonly index: number;
  /** float32 [images, 3, H, W] in the order of the rows' `<img>`; undefined for text alone. */
  readonly pixelValues: Tensor<'float32'> | undefined;
  readonly clipPixelValues: Tensor<'float32'> | undefined;
  /** Where each row comes from. */
  readonly names: readonly string[];
  /** What was left out, and why. It is not replaced. */
  readonly bad: readonly BadSample[];
  /** Rows that `maxLength` cut. */
  readonly truncated: readonly string[];
}

export interface BatchOptions {
  readonly order: Order;
  readonly batchSize: number;
  readonly padId: number;
  /** Prepares the sample at a place; throws InputError for a broken one. */
  readonly prepare: (set: number, index: number, globalIndex: number) => Promise<PreparedSample>;
  /** What messages call a sample. */
  readonly nameOf: (set: number, index: number) => string;
  /** Different samples that may be broken before it is an error. Default 0. */
  readonly maxBad?: number;
  /** Of several processes, this one's part of every batch: rank r takes rows [r·batchSize, (r+1)·batchSize). Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
}

export interface BatchSource {
  /** Steps of one epoch, the last one may reach into the next. */
  readonly stepsPerEpoch: number;
  /** Batch `index`: a function of the seed and `index` alone. Throws InputError where more than `maxBad` samples are broken. */
  batch(index: number): Promise<TrainingBatch>;
  /** Broken samples met so far, by name. */
  readonly bad: ReadonlyMap<string, string>;
}

/** Batches in order. */
export function createBatches(options: BatchOptions): BatchSource {
  const { order, batchSize, padId, prepare, nameOf, maxBad = 0, rank = 0, ranks = 1 } = options;
  if (!(Number.isInteger(batchSize) && batchSize > 0)) {
    throw new InputError(`data: batchSize: expected a whole number above 0, got ${batchSize}`);
  }
  const bad = new Map<string, string>();
  const prepareAt = async (globalIndex: number): Promise<PreparedSample | BadSample> => {
    const { set, index } = order.at(globalIndex);
    try {
      return await prepare(set, index, globalIndex);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return { where: nameOf(set, index), problem: messageOf(error) };
    }
  };
  return {
    stepsPerEpoch: Math.ceil(order.epochLength / (batchSize * ranks)),
    bad,
    batch: async (index) => {
      const first = (index * ranks + rank) * batchSize;
      const results = await Promise.all(Array.from({ length: batchSize }, (_, row) => prepareAt(first + row)));
      const broken = results.filter((result): result is BadSample => 'problem' in result);
      for (const { where, problem } of broken) bad.set(where, problem);
      if (bad.size > maxBad) {
        const list = [...bad.values()].slice(-5).join('\n  ');
        throw new InputError(`data: ${bad.size} broken samples, at most ${maxBad} are allowed:\n  ${list}`);
      }
      const samples = results.filter((result): result is PreparedSample => !('problem' in result));
      return { index, bad: broken, ...joinSamples(samples, padId) };
    },
  };
}

function joinSamples(samples: readonly PreparedSample[], padId: number): Omit<TrainingBatch, 'index' | 'bad'> {
  return {
    ...collate(samples, { padId }),
    pixelValues: stackImages(samples.flatMap(({ pixels }) => pixels)),
    clipPixelValues: stackImages(samples.flatMap(({ clipPixels }) => clipPixels)),
    names: samples.map(({ where }) => where),
    truncated: samples.filter(({ truncated }) => truncated).map(({ where }) => where),
  };
}

/** Images [3, H, W] of one size as [images, 3, H, W]. Throws InputError where the sizes differ (image mode keep). */
export function stackImages(images: readonly Tensor<'float32'>[]): Tensor<'float32'> | undefined {
  if (images.length === 0) return undefined;
  const [{ shape, data: first }] = images;
  const data = new Float32Array(images.length * first.length);
  images.forEach((image, i) => {
    if (String(image.shape) !== String(shape)) {
      throw new InputError(
        `data: a batch needs images of one size, got [${shape}] and [${image.shape}]; use batchSize 1`,
      );
    }
    data.set(image.data, i * first.length);
  });
  return { dtype: 'float32', shape: [images.length, ...shape], data };
}

/** Batches from `start` on, `ahead` of them in preparation while one is used. */
export async function* prefetch(
  source: Pick<BatchSource, 'batch'>,
  { start = 0, end = Number.POSITIVE_INFINITY, ahead = 2 }: { start?: number; end?: number; ahead?: number } = {},
): AsyncGenerator<TrainingBatch> {
  const waiting: Promise<TrainingBatch>[] = [];
  try {
    for (let index = start; index < end; index++) {
      while (waiting.length <= ahead && index + waiting.length < end) {
        const next = source.batch(index + waiting.length);
        // An error is met when its batch is taken, not before.
        next.catch(() => undefined);
        waiting.push(next);
      }
      yield await (waiting.shift() as Promise<TrainingBatch>);
    }
  } finally {
    await Promise.allSettled(waiting);
  }
}
