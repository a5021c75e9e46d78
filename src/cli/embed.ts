import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { NodeClipModel } from '../node/load-clip.js';
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
    json: { type: 'boolean', help: 'one JSON document per image or text, a line each' },
  },
  run: embed,
};

/** Images that are decoded while others go through the model. */
const batchSize = 8;

async function embed(args: Arguments, io: Io): Promise<number> {
  const texts = args.texts('text');
  if (args.positionals.length === 0 && texts.length === 0) {
    throw new InputError('embed: name at least one image, or a text with --text');
  }
  const status = statusLine(io);
  status('loading');
  const model = await openClipModel('embed', args);
  try {
    const failed = await embedImages(model, args, io, status);
    if (texts.length > 0) await embedTexts(model, texts, args, io);
    return failed > 0 ? 3 : 0;
  } finally {
    status('');
    await model.dispose();
  }
}

async function embedImages(
  model: NodeClipModel,
  args: Arguments,
  io: Io,
  status: (text: string) => void,
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
      print({ image: name }, embeds, i, args, io);
    });
    done += batch.length;
    batch = next;
  }
  return images.failed();
}

async function embedTexts(model: NodeClipModel, texts: readonly string[], args: Arguments, io: Io): Promise<void> {
  const embeds = await model.embedTexts(texts, { truncate: args.flag('truncate'), signal: io.signal });
  const cut = new Set(embeds.truncated);
  texts.forEach((text, i) => {
    if (cut.has(i)) io.err(`varyclip: text ${i}: was cut to ${model.config.text.maxPositions} tokens\n`);
    print({ text, truncated: cut.has(i) }, embeds, i, args, io);
  });
}

/** One line: the item and its vector, as JSON or as columns with a tab between. */
function print(
  item: { readonly image?: string; readonly text?: string; readonly truncated?: boolean },
  { shape, data }: Tensor<'float32'>,
  row: number,
  args: Arguments,
  io: Io,
): void {
  const vector = Array.from(data.subarray(row * shape[1], (row + 1) * shape[1]));
  if (args.flag('json')) io.out(`${JSON.stringify({ ...item, embedding: vector })}\n`);
  else io.out(`${item.image ?? item.text?.replace(/\s+/g, ' ')}\t${vector.map((x) => x.toPrecision(8)).join(' ')}\n`);
}
