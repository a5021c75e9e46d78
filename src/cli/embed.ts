import { writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { InputError } from '../core/errors.js';
import type { NodeClipModel } from '../node/load-clip.js';
import { thumbnailUri } from '../node/thumbnail.js';
import { type MatrixImage, similarityMatrixHtml, similarityMatrixSvg } from '../output/similarity-matrix.js';
import { dot } from '../search/lists.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { openImages } from './images.js';

export const embedCommand: Command = {
  summary: 'turn images and texts into vectors of one space',
  usage: 'varyclip embed [IMAGE…] [--text TEXT]… [--model DIR] [options]      (IMAGE may be - for standard input)',
  options: {
    ...clipOptions,
    text: { type: 'string', value: 'TEXT', multiple: true, help: 'a text to embed; may be repeated' },
    matrix: { type: 'string', value: 'FILE', help: 'draw how like the texts the images are, .svg or .html, instead' },
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
type Take = (item: Item, vector: Float32Array) => void;

async function embed(args: Arguments, io: Io): Promise<number> {
  const texts = args.texts('text');
  const matrix = args.text('matrix');
  if (args.positionals.length === 0 && texts.length === 0) {
    throw new InputError('embed: name at least one image, or a text with --text');
  }
  if (matrix !== undefined) checkMatrix(matrix, args.positionals, texts);
  const status = statusLine(io);
  status('loading');
  const model = await openClipModel('embed', args);
  const kept: { item: Item; vector: Float32Array }[] = [];
  const take: Take = (item, vector) => {
    if (matrix === undefined) print(item, vector, args, io);
    else kept.push({ item, vector });
  };
  try {
    const failed = await embedImages(model, args, io, status, take);
    if (texts.length > 0) await embedTexts(model, texts, args, io, take);
    if (matrix !== undefined) await writeMatrix(matrix, kept);
    return failed > 0 ? 3 : 0;
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

async function embedImages(
  model: NodeClipModel,
  args: Arguments,
  io: Io,
  status: (text: string) => void,
  take: Take,
): Promise<number> {
  const images = openImages(args.positionals, io);
  let done = 0;
  for (let batch = await images.take(batchSize); batch.length > 0; ) {
    status(`embedding ${done + 1} to ${done + batch.length} of ${args.positionals.length}`);
    const pixels = batch.map((image) => image.pixels);
    const [embeds, next] = await Promise.all([
      model.embedImages(pixels, { signal: io.signal }),
      images.take(batchSize),
    ]);
    status('');
    batch.forEach(({ name }, i) => {
      take({ image: name }, rowOf(embeds, i));
    });
    done += batch.length;
    batch = next;
  }
  return images.failed();
}

async function embedTexts(
  model: NodeClipModel,
  texts: readonly string[],
  args: Arguments,
  io: Io,
  take: Take,
): Promise<void> {
  const embeds = await model.embedTexts(texts, { truncate: args.flag('truncate'), signal: io.signal });
  const cut = new Set(embeds.truncated);
  texts.forEach((text, i) => {
    if (cut.has(i)) io.err(`varyclip: text ${i}: was cut to ${model.config.text.maxPositions} tokens\n`);
    take({ text, truncated: cut.has(i) }, rowOf(embeds, i));
  });
}

const rowOf = (
  { shape, data }: { readonly shape: readonly number[]; readonly data: Float32Array },
  row: number,
): Float32Array => data.subarray(row * shape[1], (row + 1) * shape[1]);

/** One line: the item and its vector, as JSON or as columns with a tab between. */
function print(item: Item, vector: Float32Array, args: Arguments, io: Io): void {
  const numbers = Array.from(vector);
  if (args.flag('json')) io.out(`${JSON.stringify({ ...item, embedding: numbers })}\n`);
  else io.out(`${item.image ?? item.text?.replace(/\s+/g, ' ')}\t${numbers.map((x) => x.toPrecision(8)).join(' ')}\n`);
}

async function writeMatrix(
  path: string,
  kept: readonly { readonly item: Item; readonly vector: Float32Array }[],
): Promise<void> {
  const images: MatrixImage[] = [];
  const [columns, rows, texts]: [Float32Array[], Float32Array[], string[]] = [[], [], []];
  for (const { item, vector } of kept) {
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
  await writeFile(path, extname(path) === '.svg' ? svg : similarityMatrixHtml(svg, 'Similarity of texts and images'));
}
