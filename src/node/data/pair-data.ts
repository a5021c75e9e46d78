/** Batches of pictures and texts from files of pairs. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { createRng } from '../../core/rng.js';
import { floats } from '../../core/tensor.js';
import { createOrder, periodOf } from '../../data/order.js';
import { labelNumber, type PairFileOptions, type PairRecord, parsePairs } from '../../data/pairs.js';
import type { ClipProcessor } from '../../image/clip-processor.js';
import { chooseDrawing, drawPicture, type Picture, type PictureAugmentation } from '../../image/picture.js';
import type { TwoTowerConfig } from '../../models/clip-graphs.js';
import type { Tokenizer } from '../../text/tokenizer.js';
import type { ContrastiveBatch } from '../../train/contrastive.js';
import { decodePicture } from '../images.js';

/** One file of pairs. */
export interface PairSet extends PairFileOptions {
  /** .jsonl, .csv, .tsv. */
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
}

/** What turns rows into tensors. */
export interface PairEncoder {
  readonly config: TwoTowerConfig;
  readonly processor: ClipProcessor;
  readonly tokenizer: Tokenizer;
}

export interface PairData {
  readonly rows: number;
  /** Batch `index`: a function of the files, the seed and `index` alone. Throws InputError naming a picture that is broken. */
  batch(index: number): Promise<ContrastiveBatch>;
}

/** The rows of a set, pictures as whole paths. */
export function readPairSet({ file, images = dirname(file), ...options }: PairSet): readonly PairRecord[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new InputError(`${file}: cannot be read: ${messageOf(cause)}`, { cause });
  }
  return parsePairs(text, file, options).map((record) => ({
    ...record,
    images: record.images.map((path) => resolve(images, path)),
  }));
}

/** Opens files of pairs; pictures are decoded when they are first drawn. */
export function openPairData(options: PairDataOptions, encoder: PairEncoder): PairData {
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
  const pictures = createPictureCache(encoder.config.vision.imageSize, options.cacheBytes);
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

/** A row as it comes once: some of its pictures, one of its texts. */
interface DrawnRow {
  readonly record: PairRecord;
  readonly images: readonly string[];
  readonly text: string;
  readonly rng: ReturnType<typeof createRng>;
}

function drawRow(record: PairRecord, rng: DrawnRow['rng'], views: number): DrawnRow {
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

async function encodeRows(
  rows: readonly DrawnRow[],
  pictures: (path: string) => Promise<Picture>,
  { config, processor, tokenizer }: PairEncoder,
  augment: PictureAugmentation,
): Promise<ContrastiveBatch> {
  const side = config.vision.imageSize;
  const all = rows.flatMap((row) => row.images.map((path) => ({ path, row })));
  const size = 3 * side * side;
  const data = new Float32Array(all.length * size);
  const opened = await Promise.all(all.map(({ path }) => pictures(path)));
  all.forEach(({ row }, i) => {
    const drawing = chooseDrawing(row.rng, augment, row.record.flip);
    drawPicture(opened[i], drawing, { side, processor, into: data.subarray(i * size, (i + 1) * size) });
  });
  return {
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
export function encodeTextRows(
  texts: readonly string[],
  config: TwoTowerConfig,
  tokenizer: Tokenizer,
): Pick<ContrastiveBatch, 'inputIds' | 'attentionMask'> {
  const { maxPositions } = config.text;
  const rows = texts.map((text) => tokenizer.encode(text, { maxLength: maxPositions, truncate: true }));
  const padId = rows[0][rows[0].length - 1];
  const longest = Math.max(...rows.map((row) => row.length));
  const length =
    config.family === 'siglip' ? maxPositions : Math.min(maxPositions, Math.ceil(longest / lengthStep) * lengthStep);
  const inputIds = rows.map((row) => [...row, ...Array<number>(length - row.length).fill(padId)]);
  if (config.family === 'siglip') return { inputIds };
  return { inputIds, attentionMask: rows.map((row) => inputIds[0].map((_, t) => Number(t < row.length))) };
}

/** Decodes pictures, not much larger than they are drawn; keeps them while there is room. */
function createPictureCache(side: number, bytes = 2 ** 30): (path: string) => Promise<Picture> {
  const kept = new Map<string, Promise<Picture>>();
  let left = bytes;
  return async (path) => {
    const known = kept.get(path);
    if (known) return known;
    const decoding = decodePicture(path, { side: Math.ceil(side * 1.5) });
    if (left > 0) {
      kept.set(path, decoding);
      left -= 4 * (side * 1.5) ** 2;
    }
    return decoding;
  };
}
