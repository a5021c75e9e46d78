import { dirname, resolve } from 'node:path';
import { InputError } from '../../core/errors.js';
import { type BatchSource, createBatches } from '../../data/batches.js';
import { type ConversationRecord, parseConversations } from '../../data/conversations.js';
import { createOrder, periodOf } from '../../data/order.js';
import { readText } from '../files.js';
import type { SamplePlan } from './sample-options.js';
import { createSamplePool } from './sample-pool.js';

/** One file of conversations, as the seed's and LLaVA's. */
export interface DataSet {
  /** A JSON array, or JSON lines. */
  readonly file: string;
  /** Where its pictures are. Default: beside the file. */
  readonly images?: string;
  /** How often each of its samples comes per epoch. Default 1. */
  readonly weight?: number;
}

export interface TrainingDataOptions extends Omit<SamplePlan, 'seed'> {
  readonly sets: readonly DataSet[];
  readonly batchSize: number;
  /** Of the order and of the augmentations. Default 0. */
  readonly seed?: number;
  /** Default true. */
  readonly shuffle?: boolean;
  /** Different samples that may be broken. Default 0. */
  readonly maxBad?: number;
  /** Threads that decode and augment; 0: this one. Default 2. */
  readonly workers?: number;
  /** Of several processes. Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
}

export interface TrainingData extends BatchSource {
  readonly samples: number;
  /** Samples of one time through the files as they are, weights counted: a list that repeats itself counts as often. */
  readonly samplesPerEpoch: number;
  dispose(): Promise<void>;
}

/** The records of a set, pictures as whole paths. */
export function readDataSet({ file, images = dirname(file) }: DataSet): ReturnType<typeof parseConversations> {
  const { records, problems } = parseConversations(readText(file), file);
  return { problems, records: records.map((record) => withPaths(record, images)) };
}

const withPaths = (record: ConversationRecord, folder: string): ConversationRecord => ({
  ...record,
  images: record.images.map((path) => resolve(folder, path)),
});

/**
 * Batches of conversations: batch i is a function of the files, the seed and i, whatever the number of workers. Throws
 * InputError for files that cannot be read and for more than `maxBad` broken samples, by name.
 */
export async function openTrainingData(options: TrainingDataOptions): Promise<TrainingData> {
  const { sets, batchSize, seed = 0, shuffle = true, maxBad = 0, workers = 2, rank = 0, ranks = 1, ...plan } = options;
  const read = sets.map((set) => ({ ...set, ...readDataSet(set) }));
  const unread = read.flatMap(({ file, problems }) =>
    problems.map(({ line, problem }) => `${file}:${line}: ${problem}`),
  );
  if (unread.length > maxBad) {
    throw new InputError(`data: ${unread.length} broken samples, at most ${maxBad} are allowed:\n  ${unread[0]}`);
  }
  const order = createOrder(
    read.map(({ records, weight = 1 }) => ({ length: records.length, weight, period: periodOf(records.map(keyOf)) })),
    { seed, shuffle },
  );
  const recordAt = (set: number, index: number) => read[set].records[index];
  const pool = createSamplePool({ ...plan, seed }, workers);
  const source = createBatches({
    order,
    batchSize,
    rank,
    ranks,
    padId: pool.padId,
    maxBad: maxBad - unread.length,
    prepare: (set, index, globalIndex) => pool.prepare(recordAt(set, index), globalIndex),
    nameOf: (set, index) => recordAt(set, index).where,
  });
  const samples = read.reduce((sum, { records }) => sum + records.length, 0);
  const samplesPerEpoch = read.reduce(
    (sum, { records, weight = 1 }) => sum + Math.max(1, Math.round(records.length * weight)),
    0,
  );
  return { ...source, samples, samplesPerEpoch, dispose: pool.dispose };
}

/** What makes two records the same sample. */
const keyOf = ({ sample }: ConversationRecord) => JSON.stringify(sample);
