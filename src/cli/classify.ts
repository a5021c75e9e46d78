import { readFileSync } from 'node:fs';
import { InputError, messageOf } from '../core/errors.js';
import { drawHeatMap } from '../image/heat-map.js';
import { type Classification, defaultTemplate } from '../infer/labels.js';
import { templateSets } from '../infer/template-sets.js';
import { writePng } from '../node/write-png.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { openImages } from './images.js';

export const classifyCommand: Command = {
  usage: 'varyclip classify IMAGE… --labels A,B,C [--model DIR] [options]      (IMAGE may be - for standard input)',
  options: {
    ...clipOptions,
    labels: { type: 'string', short: 'l', value: 'A,B,C', help: 'the labels, with commas between' },
    'labels-file': { type: 'string', value: 'FILE', reads: true, help: 'the labels, one a line' },
    template: {
      type: 'string',
      value: 'TEXT',
      multiple: true,
      help: `what is said of an image, {} for the label; may be repeated (${defaultTemplate})`,
    },
    templates: {
      type: 'string',
      value: Object.keys(templateSets).join('|'),
      help: 'a set of such texts, averaged',
    },
    top: { type: 'string', value: 'N', help: 'labels to print per image (5)' },
    where: {
      type: 'string',
      value: 'FILE',
      writes: 'file',
      help: 'draw where in the image its best label is, as a PNG; for one image',
    },
    json: { type: 'boolean', help: 'one JSON document per image, a line each' },
  },
  run: classify,
};

/** The labels given, in order. Throws InputError where there are none, or both ways are used. */
export function labelsOf(args: Arguments): string[] {
  const [list, file] = [args.text('labels'), args.text('labels-file')];
  if ((list === undefined) === (file === undefined)) {
    throw new InputError('classify: give labels with --labels a,b,c or --labels-file FILE');
  }
  const parts = file === undefined ? (list as string).split(',') : readLines(file);
  const labels = parts.map((label) => label.trim());
  return file === undefined ? labels : labels.filter((label) => label !== '');
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split(/\r?\n/);
  } catch (cause) {
    throw new InputError(`--labels-file: ${messageOf(cause)}`, { cause });
  }
}

function templatesOf(args: Arguments): readonly string[] {
  const given = args.texts('template');
  const set = args.choice('templates', Object.keys(templateSets));
  const all = [...given, ...(set === undefined ? [] : templateSets[set])];
  return all.length > 0 ? all : [defaultTemplate];
}

async function classify(args: Arguments, io: Io): Promise<number> {
  if (args.positionals.length === 0) throw new InputError('classify: name at least one image, or - for standard input');
  const labels = labelsOf(args);
  const template = templatesOf(args);
  const top = args.count('top') ?? 5;
  const where = args.text('where');
  if (where !== undefined && args.positionals.length > 1) throw new InputError('--where: name one image');
  const status = statusLine(io);
  status('loading');
  const model = await openClipModel('classify', args);
  try {
    const options = { template, truncate: args.flag('truncate'), signal: io.signal };
    const classifier = await model.createClassifier(labels, options);
    const images = openImages(args.positionals, io);
    const next = async () => (await images.take(1)).images[0];
    for (let image = await next(); image; image = await next()) {
      status(`classifying ${image.name}`);
      const ranked = await classifier.classify(image.pixels, { signal: io.signal });
      status('');
      print(image.name, ranked.slice(0, top), args, io);
      if (where === undefined) continue;
      const texts = template.map((text) => text.replaceAll('{}', () => ranked[0].label));
      const { similarities, region } = await model.locate(image.pixels, texts, options);
      await writePng(where, drawHeatMap(image.pixels, similarities, region));
    }
    return images.failed() > 0 ? 3 : 0;
  } finally {
    status('');
    await model.dispose();
  }
}

function print(image: string, ranked: readonly Classification[], args: Arguments, io: Io): void {
  if (args.flag('json')) {
    io.out(`${JSON.stringify({ image, labels: ranked })}\n`);
    return;
  }
  const prefix = args.positionals.length > 1 ? `${image}\t` : '';
  for (const { label, score } of ranked) io.out(`${prefix}${score.toFixed(4)}\t${label}\n`);
}
