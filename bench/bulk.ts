// Bulk reading, end to end: node dist/bench/bulk.js [--pages N] [--only rate,pdf,ranks,tesseract] [--folder DIR]
// Draws the pages, reads them with `varyclip read --out` and prints a Markdown table. Whatever two things are compared take turns:
// the job stands still (SIGSTOP) while the other is measured. Linux, because of that and of /proc. A thousand pages take an hour of
// two cores; --folder keeps the pages, so that parts can be measured one after the other on the same ones.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArguments } from '../src/cli/arguments.js';
import { InputError } from '../src/core/errors.js';
import { prepareSettings } from '../src/infer/prepare.js';
import { findInputs } from '../src/node/bulk/inputs.js';
import { createPagePool } from '../src/node/bulk/page-pool.js';
import { createPageReader } from '../src/node/bulk/read-pages.js';
import { loadModel, type NodeVaryModel } from '../src/node/load-model.js';
import { editDistance } from '../src/text/metrics.js';
import { type Chunk, type JobRun, runJob } from './bulk/job.js';
import { type PageFile, renderPages, writeScannedPdf } from './bulk/pages.js';

const partNames = ['rate', 'pdf', 'ranks', 'tesseract'] as const;
type Part = (typeof partNames)[number];

const args = parseArguments(process.argv.slice(2), {
  pages: { type: 'string', value: 'N', help: '1000' },
  only: { type: 'string', value: 'LIST', help: 'of rate, pdf, ranks, tesseract (all)' },
  folder: { type: 'string', value: 'DIR', help: 'keeps the pages that were drawn' },
  model: { type: 'string', value: 'DIR', help: 'vary-nano' },
  threads: { type: 'string', value: 'N', help: 'cores (2)' },
  chunk: { type: 'string', value: 'N', help: 'pages after which the other has its turn (25)' },
  'pdf-pages': { type: 'string', value: 'N', help: '3000' },
  'ranks-pages': { type: 'string', value: 'N', help: 'all, at most 100' },
  'tesseract-pages': { type: 'string', value: 'N', help: 'all, at most 100' },
});

function partsOf(): readonly Part[] {
  const given = args.text('only')?.split(',');
  if (!given) return partNames;
  for (const part of given) {
    if (!partNames.includes(part as Part))
      throw new InputError(`--only: expected some of ${partNames.join(', ')}, got ${part}`);
  }
  return given as Part[];
}

const pageCount = args.count('pages') ?? 1000;
if (args.positionals.length > 0) throw new InputError('usage: node dist/bench/bulk.js [--pages N] [--only LIST]');
const parts = partsOf();
const dir = args.text('model') ?? 'vary-nano';
const threads = args.count('threads') ?? 2;
const every = Math.min(args.count('chunk') ?? 25, Math.max(1, Math.floor(pageCount / 2)));
const scratch = mkdtempSync(join(tmpdir(), 'varyclip-bulk-'));
/** A page that is in preparation when its process stands still must not count as late. */
const patient = ['--time-limit', '1000000'];
const common = ['--model', dir, '--threads', String(threads), '--jobs', String(threads), ...patient];

interface Row {
  readonly what: string;
  readonly figure: string;
  readonly goal?: string;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
const inputsOf = (files: readonly PageFile[]) => files.map(({ png }) => png);

async function withReader<T>(task: (model: NodeVaryModel) => Promise<T>): Promise<T> {
  const model = await loadModel(dir, { threads });
  try {
    if (model.kind !== 'vary') throw new InputError(`${dir}: expected a reader`);
    return await task(model);
  } finally {
    await model.dispose();
  }
}

interface Alone {
  readonly lines: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** Seconds in which the model alone reads pages that were prepared before. */
async function modelAlone(model: NodeVaryModel, files: readonly PageFile[]): Promise<Alone> {
  const limits = { maxPixels: 64e6, maxBytes: 2 ** 30, maxPages: 1 };
  const plan = { dpi: 200, textLayer: false, settings: prepareSettings(model.config), limits };
  const pool = createPagePool({ plan, threads, timeLimit: 60 });
  const { documents } = findInputs(inputsOf(files));
  const prepared = await Promise.all(documents.map((document) => pool.page(document, 0)));
  await pool.dispose();
  const reader = createPageReader(model, {});
  let lines = 0;
  const [began, used] = [performance.now(), process.cpuUsage()];
  for (const page of prepared) {
    await reader.add({
      prepared: page,
      done: (read) => {
        lines += read.lines?.length ?? 0;
      },
    });
  }
  await reader.flush();
  const { user, system } = process.cpuUsage(used);
  return { lines, seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1e6 };
}

/** Megabytes by which memory grows in 1,000 pages: the slope of a line through all that follows the first fifth of the pages. */
function slopeOf({ memory, pages }: JobRun): number {
  const points = memory.filter(([at]) => at >= pages / 5 && at < pages);
  const [x, y] = [0, 1].map((axis) => sum(points.map((point) => point[axis])) / points.length);
  const spread = sum(points.map(([at]) => (at - x) ** 2));
  return (1000 * sum(points.map(([at, megabytes]) => (at - x) * (megabytes - y)))) / spread;
}

async function rateRows(files: readonly PageFile[]): Promise<Row[]> {
  return withReader(async (model) => {
    const alone: Alone[] = [];
    const ratios: number[] = [];
    let measured = 0;
    const during = async (chunk: Chunk) => {
      const own = await modelAlone(model, files.slice(chunk.from, chunk.to));
      alone.push(own);
      measured = chunk.to;
      ratios.push(chunk.lines / chunk.seconds / (own.lines / own.seconds));
      console.error(`pages ${chunk.from} to ${chunk.to}: ${percent(ratios.at(-1) as number)} of the model's rate`);
    };
    // One that is warm, as the job is when its pages count.
    await modelAlone(model, files.slice(0, 1));
    const out = join(scratch, 'rate');
    const job = await runJob({
      out,
      args: [...common, ...inputsOf(files)],
      pause: { every, pages: files.length, during },
    });
    alone.push(await modelAlone(model, files.slice(measured)));
    const own = sum(alone.map(({ lines }) => lines)) / sum(alone.map(({ seconds }) => seconds));
    const rate = job.lines / job.seconds;
    const later = ratios.slice(1);
    const range = `${percent(Math.min(...later))} to ${percent(Math.max(...later))}`;
    return [
      { what: `${job.pages} pages, ${threads} threads (pages/s)`, figure: (job.pages / job.seconds).toFixed(3) },
      { what: 'lines/s, end to end', figure: rate.toFixed(1) },
      { what: 'lines/s, the model alone', figure: own.toFixed(1) },
      {
        what: 'CPU s a line, model alone / end to end',
        figure: percent(
          sum(alone.map(({ cpuSeconds }) => cpuSeconds)) /
            sum(alone.map(({ lines }) => lines)) /
            (job.cpuSeconds / job.lines),
        ),
      },
      { what: 'end to end / model alone', figure: percent(rate / own), goal: '90 %' },
      ...(later.length > 0 ? [{ what: `the same, chunks of ${every} after the first`, figure: range }] : []),
      { what: 'memory: growth in 1,000 pages (MB)', figure: slopeOf(job).toFixed(2), goal: '< 1' },
      { what: 'memory: peak (MB)', figure: job.peak.toFixed(0), goal: '700' },
    ];
  });
}

/**
 * Tesseract over pages, a process a core with one thread each: with threads of its own it waits in a loop for most of its time, ten
 * times as long. Returns the texts.
 */
async function runTesseract(files: readonly PageFile[]): Promise<string[]> {
  const texts: string[] = [];
  let next = 0;
  const work = async () => {
    while (next < files.length) {
      const index = next++;
      const child = spawn('tesseract', [files[index].png, '-'], {
        env: { ...process.env, OMP_THREAD_LIMIT: '1' },
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const chunks: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => void chunks.push(chunk));
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on('error', (cause) => reject(new InputError('tesseract: is not on PATH', { cause })));
        child.on('close', resolve);
      });
      if (code !== 0) throw new Error(`tesseract ${files[index].png}: exit ${code}`);
      texts[index] = Buffer.concat(chunks).toString();
    }
  };
  await Promise.all(Array.from({ length: threads }, work));
  return texts;
}

/** White space counts as one space, as `evaluate` counts. */
const flat = (text: string) => [...text.replace(/\s+/g, ' ').trim()];

function errorRate(files: readonly PageFile[], texts: readonly string[]): number {
  const truths = files.map(({ txt }) => flat(readFileSync(txt, 'utf8')));
  return sum(truths.map((truth, i) => editDistance(truth, flat(texts[i])))) / sum(truths.map(({ length }) => length));
}

async function tesseractRows(all: readonly PageFile[]): Promise<Row[]> {
  const files = all.slice(0, args.count('tesseract-pages') ?? 100);
  const texts: string[] = [];
  let seconds = 0;
  const during = async ({ to }: Chunk) => {
    const began = performance.now();
    texts.push(...(await runTesseract(files.slice(texts.length, to))));
    seconds += (performance.now() - began) / 1000;
  };
  const out = join(scratch, 'tesseract');
  const turn = Math.min(every, Math.max(1, Math.floor(files.length / 2)));
  const job = await runJob({
    out,
    args: [...common, ...inputsOf(files)],
    pause: { every: turn, pages: files.length, during },
  });
  await during({ from: 0, to: files.length, lines: 0, seconds: 0 });
  const ours = files.map(({ png }) => readFileSync(join(out, `${basename(png, '.png')}.txt`), 'utf8'));
  const rate = job.pages / job.seconds;
  return [
    { what: `${files.length} pages, ${threads} cores, ours (pages/s)`, figure: rate.toFixed(3) },
    { what: `Tesseract, ${threads} processes of one thread (pages/s)`, figure: (files.length / seconds).toFixed(3) },
    { what: 'ours / that', figure: `${((rate * seconds) / files.length).toFixed(2)}×`, goal: '1.5×' },
    { what: 'characters wrong, ours', figure: percent(errorRate(files, ours)) },
    { what: 'characters wrong, Tesseract', figure: percent(errorRate(files, texts)) },
  ];
}

/** A model of no size: what is measured is the way of a long document through memory. */
async function pdfRows(files: readonly PageFile[]): Promise<Row[]> {
  const long = args.count('pdf-pages') ?? 3000;
  const short = Math.min(100, long);
  const cheap = ['--model', 'examples/tiny-vary', '--max-new-tokens', '1', '--dpi', '72', '--jobs', String(threads)];
  const peaks: number[] = [];
  const pdf = (count: number) => join(scratch, `pages-${count}.pdf`);
  for (const count of [short, long]) {
    await writeScannedPdf(pdf(count), inputsOf(files.slice(0, 10)), count);
    const job = await runJob({ out: join(scratch, `pdf-${count}`), args: [...cheap, ...patient, pdf(count)] });
    peaks.push(job.peak);
  }
  const first = await runJob({ out: join(scratch, 'first'), args: [...common, pdf(long)], firstPageOnly: true });
  return [
    { what: `a PDF of ${short} pages: peak memory (MB)`, figure: peaks[0].toFixed(0) },
    { what: `a PDF of ${long} pages: peak memory (MB)`, figure: peaks[1].toFixed(0) },
    { what: `its first page is out after (s, ${dir})`, figure: first.firstPage.toFixed(1), goal: '5' },
  ];
}

async function ranksRows(all: readonly PageFile[]): Promise<Row[]> {
  const files = all.slice(0, args.count('ranks-pages') ?? 100);
  const inputs = [...patient, ...inputsOf(files)];
  const one = ['--model', dir, '--threads', '1', '--jobs', '1', ...inputs];
  const alone = await runJob({ out: join(scratch, 'one'), args: one, core: 0 });
  const wide = await runJob({
    out: join(scratch, 'wide'),
    args: ['--model', dir, '--threads', '2', '--jobs', '2', ...inputs],
  });
  const out = join(scratch, 'two');
  const both = await Promise.all(
    [0, 1].map((rank) => runJob({ out, args: [...one, '--shards', '2', '--shard', `${rank}`], core: rank, rank })),
  );
  const seconds = Math.max(...both.map((job) => job.seconds));
  return [
    { what: `${files.length} pages, one rank on one core (pages/s)`, figure: (alone.pages / alone.seconds).toFixed(3) },
    { what: 'two ranks, a core each (pages/s)', figure: (files.length / seconds).toFixed(3) },
    { what: 'one rank with two threads (pages/s)', figure: (wide.pages / wide.seconds).toFixed(3) },
    { what: 'two ranks / one rank on one core', figure: `${(alone.seconds / seconds).toFixed(2)}×`, goal: '1.8×' },
    { what: 'two ranks / one rank with two threads', figure: `${(wide.seconds / seconds).toFixed(2)}×` },
  ];
}

if (process.platform !== 'linux') throw new InputError('bench/bulk: measures on Linux only');
const folder = args.text('folder') ?? join(scratch, 'drawn');
mkdirSync(folder, { recursive: true });
try {
  const files = await renderPages(folder, pageCount);
  const measure = { rate: rateRows, pdf: pdfRows, ranks: ranksRows, tesseract: tesseractRows };
  console.log(
    `${cpus().length} cores of ${cpus()[0].model}, Node ${process.versions.node}, load ${loadavg()[0].toFixed(1)}\n`,
  );
  console.log('| what | figure | goal |\n|---|---|---|');
  for (const part of parts) {
    for (const { what, figure, goal = '' } of await measure[part](files))
      console.log(`| ${what} | ${figure} | ${goal} |`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
