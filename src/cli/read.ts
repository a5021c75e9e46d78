import { AbortedError, InputError, messageOf } from '../core/errors.js';
import type { Look } from '../image/pixels.js';
import { lookOf } from '../infer/prepare.js';
import type { ReadOptions, ReadResult } from '../infer/reading.js';
import { mostRetries } from '../infer/retries.js';
import { writeTextAtomic } from '../node/atomic.js';
import { defaultReader } from '../node/builtin-models.js';
import { naming } from '../node/images.js';
import { loadModel, type NodeVaryModel } from '../node/load-model.js';
import { jobSignal } from '../node/signals.js';
import { previewOf } from '../node/thumbnail.js';
import { readingSheetHtml, type SheetReading } from '../output/reading-sheet.js';
import type { Arguments } from './arguments.js';
import { type Command, type Io, statusLine } from './command.js';
import { loadOptionsOf } from './load-options.js';
import { jobNumbersOf, jobOptions, readIntoFiles } from './read-job.js';

export const readCommand: Command = {
  usage:
    'varyclip read IMAGE… [--model DIR] [options]      (IMAGE may be - for standard input)\n       varyclip read PATH… --out DIR --format txt,pdf [options]      (folders, PDFs, TIFFs, tars)',
  options: {
    model: {
      type: 'string',
      short: 'm',
      value: 'DIR',
      help: 'checkpoint directory, or org/name that was pulled (vary-nano, which comes with varyclip)',
    },
    json: { type: 'boolean', help: 'one JSON document per image, a line each' },
    precision: { type: 'string', value: 'float32|int8|int4', help: "of the decoder's weights (as stored)" },
    'tower-precision': { type: 'string', value: 'float32|int8', help: "of the weights of a reader's tower (float32)" },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
    device: { type: 'string', value: 'cpu|cuda|webgpu', help: 'where to run (cpu)' },
    prompt: { type: 'string', short: 'p', value: 'TEXT', help: 'an instruction beside the picture' },
    'max-new-tokens': {
      type: 'string',
      value: 'N',
      help: 'most tokens per image, or per line with a line reader (512)',
    },
    temperature: { type: 'string', value: 'X', help: 'sample; 0 takes the likeliest token (0)' },
    'top-k': { type: 'string', value: 'N', help: 'sample among the N likeliest' },
    'top-p': { type: 'string', value: 'X', help: 'sample among the likeliest that add up to X' },
    seed: { type: 'string', value: 'N', help: 'of the sampling (0)' },
    stop: { type: 'string', value: 'TEXT', help: 'end before this text' },
    retries: {
      type: 'string',
      value: 'N',
      help: 'how often what fell into a loop, has no text or little confidence is tried again, 0 to 2 (2); with --out also a page that fails (1)',
    },
    'read-blank': { type: 'boolean', help: 'ask a model of whole pages also where no text is found on one' },
    html: { type: 'string', value: 'FILE', writes: 'file', help: 'write a page with pictures and texts side by side' },
    ...jobOptions,
  },
  run: readImages,
};

async function readImages(args: Arguments, io: Io): Promise<number> {
  const isJob = args.text('out') !== undefined;
  const images = args.positionals;
  expectJobOptions(args, isJob);
  if (images.length === 0 && args.text('list') === undefined)
    throw new InputError('read: name at least one image, or - for standard input');
  // What is wrong with them is said before a model is loaded.
  if (isJob) jobNumbersOf(args);
  const dir = args.text('model') ?? defaultReader;
  const status = statusLine(io);
  status(`loading ${dir}`);
  const model = await loadModel(dir, loadOptionsOf(args));
  try {
    if (model.kind !== 'vary') throw new InputError(`${dir}: is a ${model.kind} checkpoint, which reads no images`);
    if (args.flag('read-blank') && model.config.input === 'line')
      throw new InputError(
        `read: --read-blank is for models that read whole pages; ${dir} reads lines, and a blank page has none`,
      );
    if (isJob) {
      status('');
      return await readIntoFiles(model, args, io);
    }
    return await readInOrder(model, args, io);
  } finally {
    status('');
    await model.dispose();
  }
}

/** Options of a job mean nothing without one. */
function expectJobOptions(args: Arguments, isJob: boolean): void {
  const given = (name: string) => args.text(name) !== undefined;
  const lost = isJob ? ['html', 'temperature', 'top-k', 'top-p', 'seed', 'stop'].find(given) : undefined;
  if (lost !== undefined) throw new InputError(`read: --${lost} does not go with --out`);
  const misplaced = isJob ? undefined : Object.keys(jobOptions).find(given);
  if (misplaced !== undefined) throw new InputError(`read: --${misplaced} goes with --out DIR`);
  // What they say is looked at before a model is loaded.
  readOptionsOf(args);
}

async function sheetReadingOf(
  image: string,
  input: string | Uint8Array,
  result: ReadResult,
  look: Look,
): Promise<SheetReading> {
  const { text, lines, warnings } = result;
  const shown = await previewOf(input, look);
  return { name: image === '-' ? 'standard input' : image, ...shown, text, ...(lines && { lines }), warnings };
}

/** Reads images and writes what was read in their order. The next one is read along, so that the model has more to do at once. */
async function readInOrder(model: NodeVaryModel, args: Arguments, io: Io): Promise<number> {
  const images = args.positionals;
  const html = args.text('html');
  const status = statusLine(io);
  const sheet: SheetReading[] = [];
  const stop = new AbortController();
  const signal = jobSignal(io.signal, stop.signal);
  const start = (image: string) => startReading(model, image, args, { ...io, signal });
  let failed = 0;
  try {
    let next = start(images[0]);
    for (const [i, image] of images.entries()) {
      const reading = next;
      if (i + 1 < images.length) next = start(images[i + 1]);
      status(`reading ${image}`);
      try {
        const { input, result } = await reading.show(() => status(''));
        if (result.finishReason === 'aborted') {
          // The message is to stand on a line of its own.
          if (result.text !== '' && !args.flag('json')) io.out('\n');
          throw new AbortedError('interrupted');
        }
        writeReading(image, result, args, io, status);
        if (html !== undefined) sheet.push(await sheetReadingOf(image, input, result, lookOf(model.config)));
      } catch (error) {
        if (!(error instanceof InputError) || images.length === 1) throw error;
        failed++;
        status('');
        io.err(`varyclip: ${messageOf(error)}\n`);
      }
    }
  } finally {
    stop.abort();
  }
  if (html !== undefined) {
    writeTextAtomic(html, readingSheetHtml('What was read', sheet));
  }
  return failed > 0 ? 3 : 0;
}

interface StartedReading {
  /** From now on text goes out as it comes, what is there at once; `onFirst` is called before any does. */
  show(onFirst: () => void): Promise<{ readonly input: string | Uint8Array; readonly result: ReadResult }>;
}

/** Begins to read an image; its text waits until it is shown. */
function startReading(model: NodeVaryModel, image: string, args: Arguments, io: Io): StartedReading {
  let waiting = '';
  let write = (text: string) => {
    waiting += text;
  };
  const options = readOptionsOf(args);
  const read = async () => {
    const input = image === '-' ? await io.readStdin() : image;
    const onText = args.flag('json') ? undefined : (text: string) => write(text);
    const reading = model.read(input, { ...options, signal: io.signal, ...(onText && { onText }) });
    return { input, result: await reading.catch(naming('standard input')) };
  };
  const reading = read();
  // A failure is reported when the image's turn comes.
  reading.catch(() => undefined);
  return {
    show: (onFirst) => {
      let begun = false;
      write = (text) => {
        if (!begun) onFirst();
        begun = true;
        io.out(text);
      };
      if (waiting !== '') write(waiting);
      return reading;
    },
  };
}

function readOptionsOf(args: Arguments): ReadOptions {
  const [maxNewTokens, prompt, stop] = [args.count('max-new-tokens'), args.text('prompt'), args.text('stop')];
  const retries = args.index('retries', { to: mostRetries });
  const [temperature, topK, topP, seed] = [
    args.number('temperature'),
    args.count('top-k'),
    args.number('top-p'),
    args.index('seed'),
  ];
  return {
    sampling: {
      ...(temperature !== undefined && { temperature }),
      ...(topK !== undefined && { topK }),
      ...(topP !== undefined && { topP }),
      ...(seed !== undefined && { seed }),
    },
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(prompt !== undefined && { prompt }),
    ...(stop !== undefined && { stop: [stop] }),
    ...(retries !== undefined && { retries }),
    ...(args.flag('read-blank') && { readBlank: true }),
  };
}

/** What follows the text of an image; with --json all of it. */
function writeReading(
  image: string,
  result: ReadResult,
  args: Arguments,
  io: Io,
  status: (text: string) => void,
): void {
  status('');
  if (args.flag('json')) {
    io.out(`${JSON.stringify({ image, ...result })}\n`);
    return;
  }
  if (!result.text.endsWith('\n')) io.out('\n');
  for (const warning of result.warnings) io.err(`varyclip: ${image}: ${warning}\n`);
}
