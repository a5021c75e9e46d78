/** Batches of pictures and texts from files of pairs. */
import { createReadStream } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { createRng, type Rng } from '../../core/rng.js';
import { floats } from '../../core/tensor.js';
import { createOrder, periodOf } from '../../data/order.js';
import { labelNumber, type PairFileOptions, type PairRecord, parsePairs } from '../../data/pairs.js';
import { shuffledSamples } from '../../data/shard-order.js';
import { readTar } from '../../data/tar.js';
import { expandBraces, readWebDataset, type StreamedPair } from '../../data/web-dataset.js';
import type { ClipProcessor } from '../../image/clip-processor.js';
import { chooseDrawing, drawPicture, type Picture, type PictureAugmentation } from '../../image/picture.js';
import { textPadId } from '../../infer/clip-model.js';
import type { TwoTowerConfig } from '../../models/clip-graphs.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { ContrastiveBatch } from '../../train/contrastive.js';
import { readText } from '../files.js';
import { decodePicture } from '../images.js';
import { readParquetPairs } from './parquet-pairs.js';

/** One file of pairs; shards (.tar, .parquet) may be many: `train-{000..011}.tar`. */
export interface PairSet extends PairFileOptions {
  /** .jsonl, .csv, .tsv, .tar, .parquet. */
  readonly file: string;
  /** Where its pictures are. Default: beside the file. */
  readonly images?: string;
  /** How often each of its rows comes per epoch. Default 1. */
  readonly weight?: number;
}

export interface PairDataOptions {
  readonly sets: readonly PairSet[];
  readonly batchSize: number;
  /** Pictures drawn of each row. Default 1. */
  readonly views?: number;
  readonly augment?: PictureAugmentation;
  readonly seed?: number;
  /** Of several processes. Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
  /** Bytes of decoded pictures that are kept. Default 1 GiB. */
  readonly cacheBytes?: number;
  /** Samples of shards among which the next is drawn. Default 1000. */
  readonly buffer?: number;
}

/** What turns rows into tensors. */
export interface PairEncoder {
  readonly config: TwoTowerConfig;
  readonly processor: ClipProcessor;
  readonly tokenizer: Tokenizer;
}

/** A batch with the rows it was drawn of, for messages. */
export type PairBatch = ContrastiveBatch & { readonly names: readonly string[] };

export interface PairData {
  /** Undefined where only reading all shards would tell. */
  readonly rows: number | undefined;
  /**
   * Batch `index`: a function of the files, the seed and `index` alone. Shards are read from their start, so that batches of them
   * are to be taken in order; the first may be any. Throws InputError naming a picture that is broken.
   */
  batch(index: number): Promise<PairBatch>;
}

export const isShard = (file: string): boolean => /\.(tar|parquet)$/i.test(file);

/** Opens files of pairs; pictures are decoded when they are drawn. */
export function openPairData(options: PairDataOptions, encoder: PairEncoder): PairData {
  const shards = options.sets.filter(({ file }) => isShard(file));
  if (shards.length === 0) return openPairFiles(options, encoder);
  if (shards.length === options.sets.length) return openPairShards(options, encoder);
  throw new InputError('data: shards (.tar, .parquet) and files of rows cannot be mixed in one run');
}

/** The rows of a set, pictures as whole paths. */
export function readPairSet({ file, images = dirname(file), ...options }: PairSet): readonly PairRecord[] {
  return parsePairs(readText(file), file, options).map((record) => ({
    ...record,
    images: record.images.map((path) => resolve(images, path)),
  }));
}

function openPairFiles(options: PairDataOptions, encoder: PairEncoder): PairData {
  const { sets, batchSize, views = 1, augment = {}, seed = 0, rank = 0, ranks = 1 } = options;
  const read = sets.map((set) => ({ weight: set.weight ?? 1, records: readPairSet(set) }));
  const order = createOrder(
    read.map(({ records, weight }) => ({
      length: records.length,
      weight,
      period: periodOf(records.map(({ images, texts }) => JSON.stringify([images, texts]))),
    })),
    { seed },
  );
  const pictures = createPictureCache(pictureSide(encoder), options.cacheBytes);
  return {
    rows: read.reduce((sum, { records }) => sum + records.length, 0),
    batch: async (index) => {
      const first = (index * ranks + rank) * batchSize;
      const drawn = Array.from({ length: batchSize }, (_, i) => {
        const { set, index: row } = order.at(first + i);
        return drawRow(read[set].records[row], createRng(seed, 0x9a17, first + i), views);
      });
      return encodeRows(drawn, pictures, encoder, augment);
    },
  };
}

function openPairShards(options: PairDataOptions, encoder: PairEncoder): PairData {
  const { sets, batchSize, views = 1, augment = {}, seed = 0, rank = 0, ranks = 1, buffer = 1000 } = options;
  const files = sets.flatMap((set) => expandBraces(set.file).map((file) => ({ ...set, file })));
  const open = (shard: number) => readShard(files[shard]);
  const samples = shuffledSamples({ shards: files.length, seed, open, buffer, rank, ranks });
  const side = pictureSide(encoder);
  let next = 0;
  const take = async () => {
    const { value, done } = await samples.next();
    if (done) throw new InputError('data: the shards ended');
    return value;
  };
  /** Batches are made one after the other, whoever asks when. */
  let last: Promise<unknown> = Promise.resolve();
  const batch = async (index: number): Promise<PairBatch> => {
    if (index < next) throw new InputError(`data: batch ${index} of shards was asked for after batch ${next - 1}`);
    for (; next < index; next++) for (let i = 0; i < batchSize; i++) await take();
    next++;
    const rows: DrawnRow<Uint8Array>[] = [];
    for (let i = 0; i < batchSize; i++) {
      const { image, ...pair } = await take();
      const record = { ...pair, images: [image], flip: false };
      rows.push(drawRow(record, createRng(seed, 0x9a17, (index * ranks + rank) * batchSize + i), views));
    }
    return encodeRows(rows, (bytes) => decodePicture(bytes, { side }), encoder, augment);
  };
  return {
    rows: undefined,
    batch: (index) => {
      const made = last.then(() => batch(index));
      last = made.catch(() => undefined);
      return made;
    },
  };
}

async function* readShard({ file, ...columns }: PairSet): AsyncGenerator<StreamedPair> {
  if (/\.parquet$/i.test(file)) yield* readParquetPairs(file, columns);
  else yield* readWebDataset(readTar(readStream(file), file), file);
}

async function* readStream(file: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(file, { highWaterMark: 1 << 18 }) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw new InputError(`${file}: cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** What of a row or a sample decides how it comes. */
type Drawable<Image> = Omit<PairRecord, 'images'> & { readonly images: readonly Image[] };

/** A row as it comes once: some of its pictures, one of its texts. */
interface DrawnRow<Image> {
  readonly record: Omit<PairRecord, 'images'>;
  readonly images: readonly Image[];
  readonly text: string;
  readonly rng: Rng;
}

function drawRow<Image>(record: Drawable<Image>, rng: Rng, views: number): DrawnRow<Image> {
  const text = record.texts[rng.integer(0, record.texts.length)];
  const start = rng.integer(0, record.images.length);
  const step = 1 + rng.integer(0, Math.max(1, record.images.length - 1));
  // Different pictures where there are enough.
  const images = Array.from(
    { length: views },
    (_, view) => record.images[(start + view * step) % record.images.length],
  );
  return { record, images, text, rng };
}

async function encodeRows<Image>(
  rows: readonly DrawnRow<Image>[],
  pictures: (image: Image) => Promise<Picture>,
  { config, processor, tokenizer }: PairEncoder,
  augment: PictureAugmentation,
): Promise<PairBatch> {
  const side = config.vision.imageSize;
  const all = rows.flatMap((row) => row.images.map((image) => ({ image, row })));
  const size = 3 * side * side;
  const data = new Float32Array(all.length * size);
  const opened = await Promise.all(all.map(({ image }) => pictures(image)));
  all.forEach(({ row }, i) => {
    const drawing = chooseDrawing(row.rng, augment, row.record.flip);
    drawPicture(opened[i], drawing, { side, processor, into: data.subarray(i * size, (i + 1) * size) });
  });
  return {
    names: rows.map(({ record }) => record.where),
    pixelValues: floats([all.length, 3, side, side], data),
    imageLabels: all.map(({ row }) => labelNumber(row.record.label)),
    ...encodeTextRows(
      rows.map(({ text }) => text),
      config,
      tokenizer,
    ),
    textLabels: rows.map(({ record }) => labelNumber(record.label)),
  };
}

/** Lengths that texts are padded to are multiples of this: few shapes occur. */
const lengthStep = 8;

/** Ids of texts, cut to the model's positions and padded. */
function encodeTextRows(
  texts: readonly string[],
  config: TwoTowerConfig,
  tokenizer: Tokenizer,
): Pick<ContrastiveBatch, 'inputIds' | 'attentionMask'> {
  const { maxPositions } = config.text;
  const rows = texts.map((text) => tokenizer.encode(text, { maxLength: maxPositions, truncate: true }));
  const padId = textPadId(config, rows[0], tokenizer);
  const longest = Math.max(...rows.map((row) => row.length));
  const length =
    config.family === 'siglip' ? maxPositions : Math.min(maxPositions, Math.ceil(longest / lengthStep) * lengthStep);
  const inputIds = rows.map((row) => [...row, ...Array<number>(length - row.length).fill(padId)]);
  if (config.family === 'siglip') return { inputIds };
  return { inputIds, attentionMask: rows.map((row) => inputIds[0].map((_, t) => Number(t < row.length))) };
}

/** Pictures are decoded not much larger than they are drawn. */
const pictureSide = ({ config }: PairEncoder): number => Math.ceil(config.vision.imageSize * 1.5);

/** Decodes pictures; keeps them while there is room. */
function createPictureCache(side: number, bytes = 2 ** 30): (path: string) => Promise<Picture> {
  const kept = new Map<string, Promise<Picture>>();
  let left = bytes;
  return async (path) => {
    const known = kept.get(path);
    if (known) return known;
    const decoding = decodePicture(path, { side });
    if (left > 0) {
      kept.set(path, decoding);
      left -= 4 * side ** 2;
    }
    return decoding;
  };
}
