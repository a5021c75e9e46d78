import { extname } from 'node:path';
import { InputError } from '../core/errors.js';
import { streamFileAtomic, writeTextAtomic } from '../node/atomic.js';
import type { NodeClipModel } from '../node/load-clip.js';
import { temporaryName } from '../node/process-identity.js';
import type { Shard } from '../node/shard.js';
import { thumbnailUri } from '../node/thumbnail.js';
import { type MatrixImage, similarityMatrixHtml, similarityMatrixSvg } from '../output/similarity-matrix.js';
import { dot } from '../search/lists.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { type ImageQueue, openImages } from './images.js';
import { listOption, pathsOf, reportShard, shardFrom, shardOptions } from './shared-job.js';

export const embedCommand: Command = {
  summary: 'turn images and texts into vectors of one space',
  usage: 'varyclip embed [IMAGE…] [--text TEXT]… [--model DIR] [options]      (IMAGE may be - for standard input)',
  options: {
    ...clipOptions,
    text: { type: 'string', value: 'TEXT', multiple: true, help: 'a text to embed; may be repeated' },
    matrix: {
      type: 'string',
      value: 'FILE',
      writes: true,
      help: 'draw how like the texts the images are, .svg or .html, instead',
    },
    ...listOption,
    out: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      writes: true,
      help: 'write the lines here; of several processes each writes a file: NAME.R.ENDING',
    },
    ...shardOptions,
    json: { type: 'boolean', help: 'one JSON document per image or text, a line each' },
  },
  run: embed,
};

/** Images that are decoded while others go through the model. */
const batchSize = 8;

/** An image or a text. */
interface Item {
  readonly image?: string;
  readonly text?: string;
  readonly truncated?: boolean;
}
interface Embedded {
  readonly item: Item;
  readonly vector: Float32Array;
}

/** What is to be embedded by this process. */
interface Work {
  readonly images: ImageQueue;
  readonly count: number;
  readonly texts: readonly string[];
}

async function embed(args: Arguments, io: Io): Promise<number> {
  const [shard, matrix, out] = [shardFrom(args), args.text('matrix'), args.text('out')];
  const [names, texts] = [await pathsOf(args, io, shard), args.texts('text')];
  if (names.length === 0 && texts.length === 0) {
    throw new InputError('embed: name at least one image, or a text with --text');
  }
  if (matrix !== undefined) checkMatrix(matrix, names, texts);
  checkOutput(names, { shard, matrix, out });
  const own = names.filter((_, i) => i % shard.size === shard.rank);
  // Texts are few: they are the first process's.
  const images = openImages(own, io, names.length);
  const work: Work = { images, count: own.length, texts: shard.rank === 0 ? texts : [] };
  const status = statusLine(io);
  reportShard(shard, io);
  status('loading');
  const model = await openClipModel('embed', args);
  try {
    const embedded = embedAll(model, work, args, io, status);
    if (matrix !== undefined) await writeMatrix(matrix, embedded);
    else if (out !== undefined) await writeLines(fileOfShard(out, shard), embedded, args);
    else for await (const each of embedded) io.out(lineOf(each, args));
    return images.failed() > 0 ? 3 : 0;
  } finally {
    status('');
    await model.dispose();
  }
}

function checkMatrix(path: string, images: readonly string[], texts: readonly string[]): void {
  if (!['.svg', '.html'].includes(extname(path))) {
    throw new InputError(`--matrix: expected a name that ends in .svg or .html, got ${path}`);
  }
  if (images.length === 0 || texts.length === 0) {
    throw new InputError('--matrix: name at least one image, and a text with --text');
  }
  if (images.includes('-')) throw new InputError('--matrix: takes image files, not standard input');
}

function checkOutput(
  images: readonly string[],
  {
    shard,
    matrix,
    out,
  }: { readonly shard: Shard; readonly matrix: string | undefined; readonly out: string | undefined },
): void {
  if (matrix !== undefined && out !== undefined) throw new InputError('embed: --matrix does not go with --out');
  if (shard.size === 1) return;
  if (matrix !== undefined) throw new InputError('--matrix: is drawn by one process, of all images');
  if (out === undefined) {
    throw new InputError('embed: each of several processes writes a file of its own; say where: --out FILE');
  }
  if (images.includes('-')) throw new InputError('embed: several processes take image files, not standard input');
}

/** `vectors.jsonl` is `vectors.3.jsonl` of process 3. */
function fileOfShard(out: string, { rank, size }: Shard): string {
  if (size === 1) return out;
  const ending = extname(out);
  return `${out.slice(0, out.length - ending.length)}.${rank}${ending}`;
}

/** The file has its name when it is whole. */
async function writeLines(path: string, embedded: AsyncIterable<Embedded>, args: Arguments): Promise<void> {
  const encoder = new TextEncoder();
  async function* chunks() {
    for await (const each of embedded) yield encoder.encode(lineOf(each, args));
  }
  await streamFileAtomic(path, temporaryName(path), chunks());
}

/** Images, then texts. */
async function* embedAll(
  model: NodeClipModel,
  { images, count, texts }: Work,
  args: Arguments,
  io: Io,
  status: (text: string) => void,
): AsyncGenerator<Embedded> {
  let done = 0;
  for (let batch = await images.take(batchSize); batch.length > 0; ) {
    status(`embedding ${done + 1} to ${done + batch.length} of ${count}`);
    const pixels = batch.map((image) => image.pixels);
    const [embeds, next] = await Promise.all([
      model.embedImages(pixels, { signal: io.signal }),
      images.take(batchSize),
    ]);
    status('');
    for (const [i, { name }] of batch.entries()) yield { item: { image: name }, vector: rowOf(embeds, i) };
    done += batch.length;
    batch = next;
  }
  if (texts.length === 0) return;
  const embeds = await model.embedTexts(texts, { truncate: args.flag('truncate'), signal: io.signal });
  const cut = new Set(embeds.truncated);
  for (const [i, text] of texts.entries()) {
    if (cut.has(i)) io.err(`varyclip: text ${i}: was cut to ${model.config.text.maxPositions} tokens\n`);
    yield { item: { text, truncated: cut.has(i) }, vector: rowOf(embeds, i) };
  }
}

const rowOf = (
  { shape, data }: { readonly shape: readonly number[]; readonly data: Float32Array },
  row: number,
): Float32Array => data.subarray(row * shape[1], (row + 1) * shape[1]);

/** One line: the item and its vector, as JSON or as columns with a tab between. */
function lineOf({ item, vector }: Embedded, args: Arguments): string {
  const numbers = Array.from(vector);
  if (args.flag('json')) return `${JSON.stringify({ ...item, embedding: numbers })}\n`;
  return `${item.image ?? item.text?.replace(/\s+/g, ' ')}\t${numbers.map((x) => x.toPrecision(8)).join(' ')}\n`;
}

async function writeMatrix(path: string, embedded: AsyncIterable<Embedded>): Promise<void> {
  const images: MatrixImage[] = [];
  const [columns, rows, texts]: [Float32Array[], Float32Array[], string[]] = [[], [], []];
  for await (const { item, vector } of embedded) {
    if (item.image !== undefined) {
      images.push({ name: item.image, thumbnail: await thumbnailUri(item.image) });
      columns.push(vector);
    } else {
      texts.push(item.text ?? '');
      rows.push(vector);
    }
  }
  const cosines = rows.map((text) => columns.map((image) => dot(text, image)));
  const svg = similarityMatrixSvg(images, texts, cosines);
  writeTextAtomic(path, extname(path) === '.svg' ? svg : similarityMatrixHtml(svg, 'Similarity of texts and images'));
}
