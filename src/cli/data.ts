import { AbortedError, InputError } from '../core/errors.js';
import { writeTextAtomic } from '../node/atomic.js';
import { checkData } from '../node/data/check-data.js';
import { openSampleOptions } from '../node/data/sample-options.js';
import { sampleSheet } from '../node/data/sample-sheet.js';
import { type DataSet, readDataSet } from '../node/data/training-data.js';
import { resolveModel } from '../node/hub/resolve.js';
import { hubSettings } from '../node/hub/settings.js';
import { expectNoInput } from '../node/output-place.js';
import type { Arguments } from './arguments.js';
import { type Command, type Io, statusLine } from './command.js';

export const dataCommand: Command = {
  usage: 'varyclip data check FILE [--model DIR] [options]\n       varyclip data show FILE --model DIR --out PAGE.html',
  options: {
    images: { type: 'string', value: 'DIR', help: "where the file's pictures are (beside it)" },
    model: {
      type: 'string',
      short: 'm',
      value: 'DIR',
      help: 'a Vary checkpoint: its tokenizer tells lengths and labels',
    },
    'max-length': { type: 'string', value: 'N', help: "the most tokens a sample may have (the model's positions)" },
    'no-decode': { type: 'boolean', help: 'pictures only have to be there' },
    json: { type: 'boolean', help: 'check: one JSON document' },
    out: { type: 'string', short: 'o', value: 'FILE', writes: 'file', help: 'show: the page to write' },
    count: { type: 'string', value: 'N', help: 'show: how many samples (12)' },
    augment: { type: 'boolean', help: 'show: pictures changed as in training' },
    seed: { type: 'string', value: 'N', help: 'show: of the changes (0)' },
  },
  inputs: ([, file]) => (file === undefined ? [] : [file]),
  run: async (args, io) => {
    const [action, file, ...more] = args.positionals;
    if ((action !== 'check' && action !== 'show') || file === undefined || more.length > 0) {
      throw new InputError('data: expected: data check FILE, or data show FILE');
    }
    const images = args.text('images');
    const set: DataSet = { file, ...(images !== undefined && { images }) };
    return action === 'check' ? check(set, args, io) : show(set, args, io);
  },
};

/** The checkpoint's tokenizer and image block, and the limits that apply. */
async function openOptions(args: Arguments) {
  const checkpoint = args.text('model');
  if (checkpoint === undefined) return undefined;
  const maxLength = args.count('max-length');
  return openSampleOptions({
    checkpoint: await resolveModel(checkpoint, { settings: hubSettings(process.env) }),
    seed: args.index('seed') ?? 0,
    augment: args.flag('augment'),
    ...(maxLength !== undefined && { maxLength }),
  });
}

async function check(set: DataSet, args: Arguments, io: Io): Promise<number> {
  if (args.count('max-length') !== undefined && args.text('model') === undefined) {
    throw new InputError('data check: --max-length counts tokens, so it needs a tokenizer: --model DIR');
  }
  const status = statusLine(io);
  const report = await checkData(set, {
    ...(await openOptions(args)),
    decode: !args.flag('no-decode'),
    signal: io.signal,
    onProgress: (done, total) => status(`checked ${done} of ${total}`),
  }).catch((error: unknown) => {
    throw io.signal.aborted ? new AbortedError('interrupted', { cause: error }) : error;
  });
  status('');
  const { samples, images, problems } = report;
  if (args.flag('json')) io.out(`${JSON.stringify({ file: set.file, ...report })}\n`);
  else {
    for (const { line, problem } of problems) io.out(`${set.file}:${line}: ${problem}\n`);
    io.err(
      `varyclip: ${samples} samples, ${images} images, ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}\n`,
    );
  }
  if (samples === 0 && problems.length === 0) throw new InputError(`${set.file}: has no samples`);
  return problems.length > 0 ? 3 : 0;
}

async function show(set: DataSet, args: Arguments, io: Io): Promise<number> {
  const [out, options] = [args.text('out'), await openOptions(args)];
  if (out === undefined || !options)
    throw new InputError('data show: name a checkpoint and a page: --model DIR --out FILE');
  const { records, problems } = readDataSet(set);
  if (records.length === 0) {
    const [first] = problems;
    throw new InputError(`${set.file}: has no samples${first ? `; line ${first.line}: ${first.problem}` : ''}`);
  }
  expectNoInput(
    '--out',
    out,
    records.flatMap(({ images }) => images),
  );
  const page = await sampleSheet(records.slice(0, args.count('count') ?? 12), options, set.file);
  writeTextAtomic(out, page);
  io.err(`varyclip: wrote ${out}\n`);
  return 0;
}
