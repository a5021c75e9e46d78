import { extname } from 'node:path';
import { InputError } from '../core/errors.js';
import { writeTextAtomic } from '../node/atomic.js';
import { openLineJob, type Settled } from '../node/bulk/line-job.js';
import type { NodeClipModel } from '../node/load-clip.js';
import { expectNoInput } from '../node/output-place.js';
import { identityOf } from '../node/search/identity.js';
import type { Shard } from '../node/shard.js';
import { thumbnailUri } from '../node/thumbnail.js';
import { type MatrixImage, similarityMatrixHtml, similarityMatrixSvg } from '../output/similarity-matrix.js';
import { dot } from '../search/lists.js';
import { expectWords } from '../search/query.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { type ImageQueue, openImages } from './images.js';
import { listOption, pathsOf, reportShard, shardFrom, shardOptions } from './shared-job.js';

export const embedCommand: Command = {
  usage: 'varyclip embed [IMAGE…] [--text TEXT]… [--model DIR] [options]      (IMAGE may be - for standard input)',
  options: {
    ...clipOptions,
    text: { type: 'string', value: 'TEXT', multiple: true, help: 'a text to embed; may be repeated' },
    matrix: {
      type: 'string',
      value: 'FILE',
      writes: 'file',
      help: 'draw how like the texts the images are, .svg or .html, instead',
    },
    ...listOption,
    out: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      writes: 'file',
      help: 'write the lines here, run again to go on; of several processes each writes a file: NAME.R.ENDING',
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
/** Images that went through the model together, and all that were tried for them; or the texts. */
interface Batch {
  readonly tried: readonly Settled[];
  readonly embedded: readonly Embedded[];
}

/** What is to be embedded by this process. */
interface Work {
  readonly names: readonly string[];
  /** How many images are named for all processes together. */
  readonly named: number;
  readonly texts: readonly string[];
}

/** What embedding needs beside its work. */
interface Context {
  readonly model: NodeClipModel;
  readonly args: Arguments;
  readonly io: Io;
  readonly status: (text: string) => void;
}

async function embed(args: Arguments, io: Io): Promise<number> {
  const [shard, matrix, out] = [shardFrom(args), args.text('matrix'), args.text('out')];
  const [names, texts] = [await pathsOf(args, io, shard), args.texts('text')];
  if (names.length === 0 && texts.length === 0) {
    throw new InputError('embed: name at least one image, or a text with --text');
  }
  for (const text of texts) expectWords(text, '--text');
  if (matrix !== undefined) checkMatrix(matrix, names, texts);
  checkOutput(names, { shard, matrix, out });
  if (matrix !== undefined && args.flag('json')) throw new InputError('embed: --matrix does not go with --json');
  const [file, list] = [out === undefined ? undefined : fileOfShard(out, shard), args.text('list')];
  const inputs = list === undefined ? names : [...names, list];
  if (matrix !== undefined) expectNoInput('--matrix', matrix, inputs);
  if (file !== undefined) expectNoInput('--out', file, inputs);
  const work: Work = {
    names: names.filter((_, i) => i % shard.size === shard.rank),
    named: names.length,
    // Texts are few: they are the first process's.
    texts: shard.rank === 0 ? texts : [],
  };
  const status = statusLine(io);
  reportShard(shard, io);
  status('loading');
  const model = await openClipModel('embed', args);
  try {
    const context: Context = { model, args, io, status };
    if (file !== undefined) return await embedIntoFile(file, work, context);
    const images = openImages(work.names, io, work.named);
    const embedded = embedAll(images, work, context);
    if (matrix !== undefined) await writeMatrix(matrix, embedded);
    else for await (const batch of embedded) io.out(linesOf(batch, args));
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

/** The file has its name when it is whole; until then every batch is kept. Returns the exit code. */
async function embedIntoFile(path: string, work: Work, context: Context): Promise<number> {
  const { model, args, io, status } = context;
  const { names, texts } = work;
  const settings = { json: args.flag('json'), truncate: args.flag('truncate'), texts };
  const of = { format: 'varyclip embed', version: 1, model: await identityOf(model), settings };
  const job = openLineJob(path, of, names);
  try {
    status('');
    const { settled, changed, whole } = job;
    const failures = settled.flatMap(({ failure }) => failure ?? []);
    for (const failure of failures) io.err(`varyclip: ${failure}\n`);
    if (changed !== undefined) io.err(`varyclip: ${path}: ${changed}: what follows is embedded anew\n`);
    if (whole) io.err(`varyclip: ${path}: has all its lines already\n`);
    else if (settled.length > 0)
      io.err(`varyclip: ${path}: goes on behind ${settled.length} of ${names.length} images\n`);
    if (whole) return failures.length > 0 ? 3 : 0;
    const left = { ...work, names: names.slice(settled.length) };
    const images = openImages(left.names, io, work.named);
    let last = '';
    for await (const batch of embedAll(images, left, context)) {
      if (batch.tried.length > 0) job.add(batch.tried, linesOf(batch, args));
      else last = linesOf(batch, args);
    }
    job.finish(last);
    return failures.length + images.failed() > 0 ? 3 : 0;
  } finally {
    job.dispose();
  }
}

/** Images, then texts. */
async function* embedAll(
  images: ImageQueue,
  { names, texts }: Work,
  { model, args, io, status }: Context,
): AsyncGenerator<Batch> {
  let done = 0;
  for (let batch = await images.take(batchSize); batch.tried.length > 0; ) {
    const { images: found, tried } = batch;
    status(`embedding ${done + 1} to ${done + tried.length} of ${names.length}`);
    const pixels = found.map((image) => image.pixels);
    const [embeds, next] = await Promise.all([
      found.length > 0 ? model.embedImages(pixels, { signal: io.signal }) : undefined,
      images.take(batchSize),
    ]);
    status('');
    yield {
      tried,
      embedded: embeds ? found.map(({ name }, i) => ({ item: { image: name }, vector: rowOf(embeds, i) })) : [],
    };
    done += tried.length;
    batch = next;
  }
  if (texts.length === 0) return;
  const embeds = await model.embedTexts(texts, { truncate: args.flag('truncate'), signal: io.signal });
  const cut = new Set(embeds.truncated);
  for (const i of cut) io.err(`varyclip: text ${i}: was cut to ${model.config.text.maxPositions} tokens\n`);
  yield {
    tried: [],
    embedded: texts.map((text, i) => ({ item: { text, truncated: cut.has(i) }, vector: rowOf(embeds, i) })),
  };
}

const rowOf = (
  { shape, data }: { readonly shape: readonly number[]; readonly data: Float32Array },
  row: number,
): Float32Array => data.subarray(row * shape[1], (row + 1) * shape[1]);

const linesOf = ({ embedded }: Batch, args: Arguments): string => embedded.map((each) => lineOf(each, args)).join('');

/** One line: the item and its vector, as JSON or as columns with a tab between. */
function lineOf({ item, vector }: Embedded, args: Arguments): string {
  const numbers = Array.from(vector);
  if (args.flag('json')) return `${JSON.stringify({ ...item, embedding: numbers })}\n`;
  return `${item.image ?? item.text?.replace(/\s+/g, ' ')}\t${numbers.map((x) => x.toPrecision(8)).join(' ')}\n`;
}

async function writeMatrix(path: string, embedded: AsyncIterable<Batch>): Promise<void> {
  const images: MatrixImage[] = [];
  const [columns, rows, texts]: [Float32Array[], Float32Array[], string[]] = [[], [], []];
  for await (const batch of embedded) {
    for (const { item, vector } of batch.embedded) {
      if (item.image !== undefined) {
        images.push({ name: item.image, thumbnail: await thumbnailUri(item.image) });
        columns.push(vector);
      } else {
        texts.push(item.text ?? '');
        rows.push(vector);
      }
    }
  }
  const cosines = rows.map((text) => columns.map((image) => dot(text, image)));
  const svg = similarityMatrixSvg(images, texts, cosines);
  writeTextAtomic(path, extname(path) === '.svg' ? svg : similarityMatrixHtml(svg, 'Similarity of texts and images'));
}
