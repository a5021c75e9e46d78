import { join } from 'node:path';
import { AbortedError, InputError, messageOf } from '../core/errors.js';
import { writeTextAtomic } from '../node/atomic.js';
import { defaultReader } from '../node/builtin-models.js';
import { findPairs, type ImageTextPair, pictureUri, readText, textNameOf } from '../node/evaluation-files.js';
import { loadModel } from '../node/load-model.js';
import { expectNoInput } from '../node/output-place.js';
import {
  type EvaluatedSample,
  evaluateSample,
  evaluationHtml,
  evaluationTable,
  summarise,
  worstFirst,
} from '../output/evaluation.js';
import type { Arguments } from './arguments.js';
import type { Command, Io } from './command.js';
import { evaluatePictures, isPairFile } from './evaluate-pictures.js';
import { loadOptionsOf } from './load-options.js';

export const evaluateCommand: Command = {
  usage:
    'varyclip evaluate FOLDER [--model DIR] [options]      (page.png and page.txt are a pair)\n       varyclip evaluate PAIRS.jsonl [--model DIR] [options]      (rows {"image", "text", "label"}; also .csv, .tsv)',
  options: {
    model: { type: 'string', short: 'm', value: 'DIR', help: 'checkpoint directory (vary-nano; of pairs: clip-nano)' },
    'labels-from': {
      type: 'string',
      value: 'FILE',
      reads: true,
      help: 'of pairs: the labels of this file compete too',
    },
    readings: { type: 'string', value: 'FOLDER', help: 'take .txt files from here instead of reading with a model' },
    json: { type: 'boolean', help: 'one JSON document: summary and samples' },
    report: {
      type: 'string',
      value: 'FILE',
      writes: 'file',
      help: 'write an HTML page with the worst cases as pictures',
    },
    worst: { type: 'string', value: 'N', help: 'cases shown in the report (20)' },
    exact: { type: 'boolean', help: 'white space counts as it is; else any of it is one space' },
    precision: { type: 'string', value: 'float32|int8|int4', help: "of the decoder's weights (float32)" },
    'tower-precision': { type: 'string', value: 'float32|int8', help: "of the weights of a reader's tower (float32)" },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
    'max-new-tokens': { type: 'string', value: 'N', help: 'most tokens per image (1024)' },
  },
  run: evaluate,
};

interface Reader {
  read(pair: ImageTextPair): Promise<string | undefined>;
  dispose(): Promise<void>;
}

/** Readings of another program: files beside nothing but their names. */
function fileReader(folder: string): Reader {
  return { read: async ({ name }) => readText(join(folder, textNameOf(name))), dispose: async () => {} };
}

/** Reads with a model; undefined where SIGINT came first. */
async function modelReader(args: Arguments, io: Io): Promise<Reader> {
  const dir = args.text('model') ?? defaultReader;
  const maxNewTokens = args.count('max-new-tokens') ?? 1024;
  const model = await loadModel(dir, loadOptionsOf(args));
  if (model.kind !== 'vary') {
    await model.dispose();
    throw new InputError(`${dir}: is a ${model.kind} checkpoint, which reads no images`);
  }
  return {
    read: async ({ image }) => {
      const { text, finishReason } = await model.read(image, { maxNewTokens, signal: io.signal });
      return finishReason === 'aborted' ? undefined : text;
    },
    dispose: async () => {
      await model.dispose();
    },
  };
}

async function evaluate(args: Arguments, io: Io): Promise<number> {
  const [folder, ...rest] = args.positionals;
  if (folder === undefined || rest.length > 0)
    throw new InputError('evaluate: name one folder of images and .txt files, or one file of pairs');
  if (isPairFile(folder)) return evaluatePictures(folder, args, io);
  const worst = args.count('worst') ?? 20;
  const { pairs, withoutText } = await findPairs(folder);
  for (const name of withoutText) io.err(`varyclip: ${name}: has no ${textNameOf(name)}, left out\n`);
  if (pairs.length === 0)
    throw new InputError(`${folder}: expected images with a .txt file of the same name, found none`);
  const readings = args.text('readings');
  const report = args.text('report');
  if (report !== undefined) expectNoInput('--report', report, filesOf(pairs, readings));
  const reader = readings === undefined ? await modelReader(args, io) : fileReader(readings);
  const samples: EvaluatedSample[] = [];
  let failed = 0;
  try {
    for (const pair of pairs) {
      try {
        const reference = readText(pair.text);
        const began = performance.now();
        const hypothesis = await reader.read(pair);
        if (hypothesis === undefined) throw new AbortedError('interrupted');
        const seconds = (performance.now() - began) / 1000;
        const timed = readings === undefined ? { seconds } : {};
        samples.push(
          evaluateSample({ name: pair.name, reference, hypothesis, ...timed }, { exact: args.flag('exact') }),
        );
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        failed++;
        io.err(`varyclip: ${pair.name}: ${messageOf(error)}\n`);
      }
    }
  } finally {
    await reader.dispose();
  }
  if (samples.length === 0) throw new InputError(`${folder}: none of the ${pairs.length} images could be read`);
  if (report !== undefined) await writeReport(report, folder, samples, pairs, worst);
  if (args.flag('json')) io.out(`${JSON.stringify({ summary: { ...summarise(samples), failed }, samples })}\n`);
  else io.out(evaluationTable(samples));
  return failed > 0 ? 3 : 0;
}

/** All that is read for pairs. */
const filesOf = (pairs: readonly ImageTextPair[], readings: string | undefined): string[] =>
  pairs.flatMap(({ name, image, text }) => [
    image,
    text,
    ...(readings === undefined ? [] : [join(readings, textNameOf(name))]),
  ]);

async function writeReport(
  path: string,
  folder: string,
  samples: readonly EvaluatedSample[],
  pairs: readonly ImageTextPair[],
  worst: number,
): Promise<void> {
  const shown = new Set(
    worstFirst(samples)
      .slice(0, worst)
      .map(({ name }) => name),
  );
  const pictures = new Map<string, string>();
  for (const { name, image } of pairs) if (shown.has(name)) pictures.set(name, await pictureUri(image));
  writeTextAtomic(path, evaluationHtml(samples, { title: `Readings of ${folder}`, pictures, worst }));
}
