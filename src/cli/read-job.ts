/** `varyclip read PATH… --out DIR`: documents into files, as a job that can be ended and gone on with. */
import { join } from 'node:path';
import { InputError } from '../core/errors.js';
import { mostSeconds } from '../core/timers.js';
import { mostRetries } from '../infer/retries.js';
import { writeTextAtomic } from '../node/atomic.js';
import { expectOutside, expectSomething, findInputs, passedOverText } from '../node/bulk/inputs.js';
import type { BulkOptions, BulkProgress, BulkReport, JobReport } from '../node/bulk/job-options.js';
import { readerInfoOf } from '../node/bulk/reader-info.js';
import { runBulkRead } from '../node/bulk/run-job.js';
import { stateFolder } from '../node/bulk/write-outputs.js';
import type { NodeVaryModel } from '../node/load-model.js';
import { putThreadsBehindEventLoop } from '../node/ort/priority.js';
import type { Shard } from '../node/shard.js';
import { type FormatName, formatNames } from '../output/document/formats.js';
import type { Arguments, OptionSpecs } from './arguments.js';
import { type Io, statusLine } from './command.js';
import { threadsOf } from './load-options.js';
import { programVersion } from './program-version.js';
import { listOption, pathsOf, reportShard, shardFrom, shardOptions } from './shared-job.js';

export const jobOptions: OptionSpecs = {
  out: {
    type: 'string',
    short: 'o',
    value: 'DIR',
    writes: 'directory',
    help: 'write files here: PATH may be a folder, pattern, PDF, TIFF or tar; run again to go on',
  },
  format: {
    type: 'string',
    short: 'f',
    value: 'LIST',
    help: `${formatNames.join(',')}: what to write with --out (txt)`,
  },
  ...listOption,
  dpi: { type: 'string', value: 'N', help: 'of the pages of a PDF (200)' },
  'text-layer': { type: 'boolean', help: "take a PDF's own text where a page has one" },
  jobs: { type: 'string', short: 'j', value: 'N', help: 'threads that decode and find lines (all cores, at most 4)' },
  'max-error-rate': { type: 'string', value: 'X', help: 'end when more than this part of the pages fails (1)' },
  'max-pages': { type: 'string', value: 'N', help: 'most pages of one document (20000)' },
  'time-limit': { type: 'string', value: 'S', help: 'seconds that preparing a page may take (60)' },
  overwrite: { type: 'boolean', help: 'replace files in DIR that are in the way and were not written by this job' },
  timings: { type: 'boolean', help: 'seconds of every stage in the JSON files' },
  ...shardOptions,
};

/** The formats asked for. Throws InputError for one that there is not. */
function formatsOf(args: Arguments): FormatName[] {
  const given = (args.text('format') ?? 'txt').split(',').map((name) => name.trim());
  return [...new Set(given)].map((name) => {
    const found = formatNames.find((known) => known === name || (known === 'md' && name === 'markdown'));
    if (found) return found;
    throw new InputError(`--format: expected some of ${formatNames.join(', ')}, got ${JSON.stringify(name)}`);
  });
}

/** Runs a job with a model that is loaded. Returns the exit code. */
export async function readIntoFiles(model: NodeVaryModel, args: Arguments, io: Io): Promise<number> {
  const out = args.text('out') as string;
  const list = args.text('list');
  const [formats, shard] = [formatsOf(args), shardFrom(args)];
  if (args.positionals.includes('-'))
    throw new InputError('read: --out takes files, not standard input; write it into a file, or leave out --out');
  const paths = await pathsOf(args, io, shard);
  expectOutside(out, paths);
  const status = statusLine(io);
  status('looking for documents');
  const inputs = findInputs(paths);
  expectSomething(inputs, paths);
  const reader = await readerInfoOf(model);
  reportShard(shard, io);
  const passedOver = passedOverText(inputs);
  // All processes look at the same folders.
  if (passedOver !== undefined && shard.rank === 0) io.err(`varyclip: ${passedOver}\n`);
  await putThreadsBehindEventLoop();
  const report = await runBulkRead({
    model,
    reader,
    generator: `varyclip ${programVersion()}`,
    inputs,
    out,
    formats,
    shard,
    ...jobNumbersOf(args),
    read: readSettings(args),
    textLayer: args.flag('text-layer'),
    timings: args.flag('timings'),
    overwrite: args.flag('overwrite'),
    ...(list !== undefined && { alsoRead: [list] }),
    signal: io.signal,
    onProgress: (progress) => status(progressText(progress)),
    onProblem: (message) => {
      status('');
      io.err(`varyclip: ${message}\n`);
    },
  }).finally(() => status(''));
  writeReport(out, shard, report);
  if (args.flag('json')) io.out(`${JSON.stringify(report)}\n`);
  else for (const line of reportLines(report, shard)) io.err(`varyclip: ${line}\n`);
  // A launcher ends the other processes where one says that something failed: the one that completes the job says it for all.
  if (shard.size > 1 && report.job.left > 0) return 0;
  return (shard.size > 1 ? report.job : report).failures.length > 0 ? 3 : 0;
}

/** Options that are numbers, where they were given. Throws InputError for one that cannot be. */
export function jobNumbersOf(args: Arguments): Partial<BulkOptions> {
  const [dpi, jobs, retries] = [
    args.number('dpi', { from: 18, to: 2400 }),
    threadsOf(args, 'jobs'),
    args.index('retries'),
  ];
  const [maxErrorRate, maxPages, timeLimit] = [
    args.number('max-error-rate', { from: 0, to: 1 }),
    args.count('max-pages'),
    args.number('time-limit', { above: 0, to: mostSeconds }),
  ];
  return {
    ...(dpi !== undefined && { dpi }),
    ...(jobs !== undefined && { jobs }),
    ...(retries !== undefined && { retries }),
    ...(maxErrorRate !== undefined && { maxErrorRate }),
    ...(maxPages !== undefined && { maxPages }),
    ...(timeLimit !== undefined && { timeLimit }),
  };
}

function readSettings(args: Arguments): NonNullable<BulkOptions['read']> {
  const [maxNewTokens, prompt, retries] = [args.count('max-new-tokens'), args.text('prompt'), args.index('retries')];
  return {
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(prompt !== undefined && { prompt }),
    // More than there are ways for changes nothing: it is the same job then.
    ...(retries !== undefined && retries < mostRetries && { retries }),
    ...(args.flag('read-blank') && { readBlank: true }),
  };
}

function writeReport(out: string, { rank }: Shard, report: BulkReport): void {
  const text = `${JSON.stringify(report, null, 2)}\n`;
  writeTextAtomic(join(out, stateFolder, `report.${rank}.json`), text);
}

/** `1,200 of 5,000 pages, 3.4 a second, 18 min left`. */
export function progressText({ pages, pagesLeft, failed, seconds }: BulkProgress): string {
  const rate = pages / Math.max(seconds, 1e-3);
  const count = (value: number) => value.toLocaleString('en');
  const parts = [`${count(pages)} of ${count(pages + pagesLeft)} pages`, `${rate.toPrecision(2)} a second`];
  if (failed > 0) parts.push(`${count(failed)} failed`);
  if (pages > 0) parts.push(`${durationText(pagesLeft / rate)} left`);
  return parts.join(', ');
}

function durationText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.ceil(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

/** What this run did; of a job with other processes or runs also what all of them did. */
function reportLines(report: BulkReport, { size }: Shard): string[] {
  const { job } = report;
  const own = runText(report);
  if (size > 1 && job.left > 0) {
    return [
      own,
      `${job.left} documents are left to other processes; the last one, or the next run, reports the whole job`,
    ];
  }
  return size > 1 || job.pages !== report.pages ? [own, jobText(job)] : [own];
}

function jobText(job: JobReport): string {
  const { documents, finished, pages, seconds, pagesPerSecond, ranks } = job;
  const parts = [`the whole job: ${finished} of ${documents} documents written`, `${pages} pages`, ...troubles(job)];
  const each = ranks.map((own) => `process ${own.rank} ${own.pages} pages, ${own.pagesPerSecond.toFixed(2)} a second`);
  const rate = `${seconds.toFixed(1)} s, ${pagesPerSecond.toFixed(2)} pages a second`;
  return `${parts.join(', ')}; ${rate}${ranks.length > 1 ? ` (${each.join('; ')})` : ''}`;
}

type Troubles = Pick<JobReport, 'warned' | 'failedPages' | 'failedDocuments'>;

function troubles({ warned, failedPages, failedDocuments }: Troubles): string[] {
  return [
    ...(warned > 0 ? [`${warned} pages with warnings`] : []),
    ...(failedPages > 0 ? [`${failedPages} pages failed`] : []),
    ...(failedDocuments > 0 ? [`${failedDocuments} documents failed`] : []),
  ];
}

function runText(report: BulkReport): string {
  const { finished, unchanged, pages, lines, retried, seconds, pagesPerSecond } = report;
  const parts = [`${finished} documents written, ${unchanged} unchanged`, `${pages} pages and ${lines} lines read`];
  if (retried > 0) parts.push(`${retried} pages tried again`);
  parts.push(...troubles(report));
  return `${parts.join(', ')}; ${seconds.toFixed(1)} s, ${pagesPerSecond.toFixed(2)} pages a second`;
}
