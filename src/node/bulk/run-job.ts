/**
 * A bulk reading: documents are opened and their pages prepared by threads, ahead of the model; the model reads lines of many pages
 * together; every page is in the journal before it counts; a document's files are written when all its pages are there. Whatever
 * ends this process, the next run goes on behind the last page in the journal and writes the same files.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { AbortedError, InputError, messageOf, VaryclipError } from '../../core/errors.js';
import { isObject } from '../../core/json.js';
import { prepareSettings } from '../../infer/prepare.js';
import type { PageOutput } from '../../output/document/page.js';
import { isNoRoom, resumable, writeTextAtomic } from '../atomic.js';
import { readJson } from '../files.js';
import { takeLock } from '../lock.js';
import { inputFinder } from '../output-place.js';
import { lookAt, makeDirectories } from '../place.js';
import { jobSignal } from '../signals.js';
import type { InputDocument } from './inputs.js';
import type { BulkOptions, BulkReport, JobFailure } from './job-options.js';
import { lockName, reportJob } from './job-report.js';
import { type DocumentState, isWritten, type Journal, openJournal, type RunRecord } from './journal.js';
import { createPagePool, type PagePool } from './page-pool.js';
import type { OpenedDocument, PagePlan, PreparedPage } from './page-worker.js';
import { createPageReader } from './read-pages.js';
import { expectFree, outputNames, outputsExist, removeOutputs, stateFolder, writeOutputs } from './write-outputs.js';

/** Pages of a document that fail by ending a thread or taking too long, after which the rest is not tried. */
const documentStrikes = 3;
/** Pages after which the share of failures means something. */
const leastForRate = 20;

type Settled = Required<Pick<BulkOptions, 'formats' | 'dpi' | 'jobs' | 'retries' | 'maxErrorRate' | 'shard'>> &
  BulkOptions;

/** A document that is being read. */
interface Work {
  readonly document: InputDocument;
  /** Pages from 0 that are to be read. */
  readonly todo: readonly number[];
  /** Of those, how many are not settled. */
  left: number;
  strikes: number;
}

/** What is counted as the job goes on. */
type Counts = {
  -readonly [K in Exclude<keyof BulkReport, 'seconds' | 'pagesPerSecond' | 'documents' | 'failures' | 'job'>]: number;
};

/** Which input a path is, if it is one. */
type InputAt = (path: string) => string | undefined;

interface Context {
  readonly options: Settled;
  readonly plan: PagePlan;
  readonly state: string;
  readonly journal: Journal;
  readonly pool: PagePool;
  readonly counts: Counts;
  readonly failures: JobFailure[];
  readonly inputAt: InputAt;
  report(source: string, reason: string, page?: number): void;
}

function planOf({
  model,
  dpi,
  textLayer = false,
  maxPixels = 64e6,
  maxBytes = 2 ** 30,
  maxPages = 20_000,
}: Settled): PagePlan {
  return { dpi, textLayer, settings: prepareSettings(model.config), limits: { maxPixels, maxBytes, maxPages } };
}

function storedJob(state: string, out: string): unknown {
  try {
    return readJson(state, 'job.json');
  } catch (cause) {
    if (!(cause instanceof InputError)) throw cause;
    throw new InputError(
      `${messageOf(cause)}: what ${out} was read with is not known any more; remove ${state} and read all of it anew with --overwrite, or name another output directory`,
      { cause },
    );
  }
}

/** What a job's results depend on, beside its inputs. A directory takes one kind of results only. */
function expectSameJob(state: string, { out, reader, dpi, textLayer = false, read = {}, fs }: Settled): void {
  const path = join(state, 'job.json');
  const job = JSON.parse(
    JSON.stringify({
      format: 'varyclip job',
      version: 2,
      reader: { ...reader, name: undefined },
      settings: { dpi, textLayer, ...read },
    }),
  );
  const stored = storedJob(state, out);
  if (stored === undefined) {
    writeTextAtomic(path, `${JSON.stringify(job)}\n`, fs);
    return;
  }
  if (JSON.stringify(stored) === JSON.stringify(job)) return;
  const parts = ['format', 'version', 'reader', 'settings'];
  const differs = parts.filter(
    (part) => JSON.stringify(isObject(stored) ? stored[part] : undefined) !== JSON.stringify(job[part]),
  );
  throw new InputError(
    `${path}: what is here was read otherwise: ${differs.map((part) => `${part} ${JSON.stringify(isObject(stored) ? stored[part] : stored)}, now ${JSON.stringify(job[part])}`).join('; ')}. Name another output directory`,
  );
}

/**
 * Reads documents into files. Throws InputError where the output directory cannot be used or has no room left, VaryclipError past
 * `maxErrorRate`. What was read until then is kept.
 */
export async function runBulkRead(options: BulkOptions): Promise<BulkReport> {
  try {
    return await runInto(options);
  } catch (error) {
    throw resumable(error);
  }
}

async function runInto({ signal, ...given }: BulkOptions): Promise<BulkReport> {
  const options: BulkOptions = { ...given, ...(signal && { signal: jobSignal(signal) }) };
  const {
    out,
    formats = ['txt'],
    dpi = 200,
    jobs = Math.min(4, availableParallelism()),
    retries = 1,
    maxErrorRate = 1,
  } = options;
  const shard = options.shard ?? { rank: 0, size: 1, from: 'one process' };
  const settled: Settled = { ...options, formats, dpi, jobs, retries, maxErrorRate, shard };
  const state = join(out, stateFolder);
  const own = options.inputs.documents.filter((_, i) => i % shard.size === shard.rank);
  const outputs = new Set(own.flatMap(({ name }) => outputNames(name, formats)));
  const inputAt = inputFinder([...options.inputs.documents.map(({ file }) => file), ...(options.alsoRead ?? [])]);
  expectNoInputs(out, outputs, inputAt);
  try {
    makeDirectories(state);
  } catch (cause) {
    throw new InputError(`${out}: cannot be written to: ${messageOf(cause)}`, { cause });
  }
  const unlock = takeLock(
    join(state, lockName(shard.rank)),
    (owner) => `${out}: ${owner} is reading into it; wait for it, or name another directory`,
    options.fs,
  );
  let report: Omit<BulkReport, 'job'>;
  try {
    expectSameJob(state, settled);
    const keys = new Set(own.map(({ key }) => key));
    const wanted = { key: (key: string) => keys.has(key), output: (name: string) => outputs.has(name) };
    const journal = openJournal(state, shard.rank, wanted, options.fs);
    try {
      report = await runShare(settled, state, journal, own, inputAt);
    } finally {
      await journal.dispose();
    }
  } finally {
    unlock();
  }
  return { ...report, job: reportJob(state, options.inputs) };
}

/** Throws InputError where an output would take the place of an input: that would be lost. */
function expectNoInputs(out: string, outputs: Iterable<string>, inputAt: InputAt): void {
  for (const name of outputs) {
    const input = inputAt(join(out, name));
    if (input === undefined) continue;
    throw new InputError(
      `--out ${out}: ${join(out, name)} is the input ${input}, which would be lost; name another directory or other formats`,
    );
  }
}

async function runShare(
  options: Settled,
  state: string,
  journal: Journal,
  own: readonly InputDocument[],
  inputAt: InputAt,
): Promise<Omit<BulkReport, 'job'>> {
  const plan = planOf(options);
  const { timeLimit = 60 } = options;
  const pool = createPagePool({ plan, threads: options.jobs, timeLimit });
  const counts: Counts = {
    unchanged: 0,
    finished: 0,
    pages: 0,
    lines: 0,
    warned: 0,
    retried: 0,
    failedPages: 0,
    failedDocuments: 0,
  };
  const failures: Context['failures'] = [];
  const report: Context['report'] = (source, reason, page) => {
    failures.push({ source, reason, ...(page !== undefined && { page }) });
    options.onProblem?.(reason.startsWith(source) ? reason : `${source}: ${reason}`);
    counts[page === undefined ? 'failedDocuments' : 'failedPages']++;
    const failed = counts.failedPages + counts.failedDocuments;
    const tried = failed + counts.pages;
    if (tried >= leastForRate && failed > options.maxErrorRate * tried) {
      throw new VaryclipError(
        `${failed} of ${tried} pages failed, more than --max-error-rate allows; the last: ${reason}`,
      );
    }
  };
  const context: Context = { options, plan, state, journal, pool, counts, failures, inputAt, report };
  const [began, started] = [Date.now(), performance.now()];
  const secondsSince = () => (performance.now() - started) / 1000;
  try {
    if (options.shard.rank === 0) for (const { source, reason } of options.inputs.problems) report(source, reason);
    await readAll(context, own, started);
  } finally {
    await pool.dispose();
    await recordRun(journal, { began, seconds: secondsSince(), pages: counts.pages });
  }
  const seconds = secondsSince();
  return { documents: own.length, ...counts, seconds, pagesPerSecond: counts.pages / seconds, failures };
}

/** A run counts however it ended; where that cannot be written any more, what ended it is the failure to report. */
async function recordRun(journal: Journal, record: RunRecord): Promise<void> {
  if (record.pages === 0) return;
  try {
    journal.run(record);
    await journal.sync();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
}

async function readAll(context: Context, own: readonly InputDocument[], started: number): Promise<void> {
  const { options, journal, counts } = context;
  const finisher = createFinisher(context);
  const reader = createPageReader(options.model, {
    ...options.read,
    ...(options.signal && { signal: options.signal }),
  });
  let settled: Work[] = [];
  const progress = createProgress(context, own.length, started);
  /** What was read since the last time is on the disk, and documents that are complete are handed on. */
  const commit = async () => {
    // What is read while this waits for the disk is for the next time.
    const complete = settled.filter(({ left }) => left === 0);
    settled = [];
    await journal.sync();
    for (const { document } of new Set(complete)) await finisher.add(document);
    progress.show();
  };
  try {
    for await (const { work, page, result } of pagesAhead(context, own, progress.open)) {
      if (options.signal?.aborted) throw new AbortedError('interrupted');
      if (page === undefined) {
        settled.push(work);
        await commit();
        continue;
      }
      const settle = () => {
        work.left--;
        settled.push(work);
      };
      if (result instanceof InputError) {
        await failPage(context, work, page, result);
        settle();
        await commit();
        continue;
      }
      await reader.add({
        prepared: result as PreparedPage,
        done: (stored) => {
          journal.page(work.document.key, page, stored);
          counts.pages++;
          counts.lines += stored.lines?.length ?? 0;
          if (stored.warnings.length > 0) counts.warned++;
          if (stored.retries !== undefined) counts.retried++;
          settle();
        },
      });
      if (settled.length > 0) await commit();
    }
    await reader.flush();
    await commit();
  } finally {
    // What is complete is finished also when this run ends early.
    await finisher.end();
  }
}

async function failPage(
  { journal, report, options }: Context,
  { document }: Work,
  page: number,
  error: InputError,
): Promise<void> {
  const known = journal.documents.get(document.key)?.pages[page];
  const before = known && 'failure' in known ? known.attempts : 0;
  const reason = messageOf(error);
  journal.failPage(document.key, page, reason, before + 1 + options.retries);
  await journal.sync();
  report(document.source, reason.startsWith(document.source) ? reason : `page ${page + 1}: ${reason}`, page + 1);
}

async function failDocument(
  { journal, report }: Context,
  { key, source }: InputDocument,
  error: InputError,
): Promise<void> {
  const reason = messageOf(error);
  journal.fail(key, reason, (journal.failures.get(key)?.attempts ?? 0) + 1);
  await journal.sync();
  report(source, reason);
}

interface Ahead {
  readonly work: Work;
  /** From 0; undefined: the document has nothing to read and only its files to be written. */
  readonly page?: number;
  readonly result?: PreparedPage | InputError;
}

/** Pages in order, a window of them in preparation. Documents are opened ahead of that. */
async function* pagesAhead(
  context: Context,
  own: readonly InputDocument[],
  opened: (work: Work | undefined) => void,
): AsyncGenerator<Ahead> {
  const { options, plan, pool, counts } = context;
  const full = plan.settings.input === 'line' ? 2 * options.jobs + 6 : options.jobs + 1;
  // Until the first page is read, cores are for it.
  const window = () => (counts.pages === 0 ? 1 : full);
  const running: Promise<Ahead>[] = [];
  const opening: Promise<Work | undefined>[] = [];
  let next = 0;
  const openAhead = () => {
    while (next < own.length && opening.length < 2 * options.jobs + 2) opening.push(quiet(begin(context, own[next++])));
  };
  for (openAhead(); opening.length > 0; openAhead()) {
    const work = await (opening.shift() as Promise<Work | undefined>);
    opened(work);
    if (!work) continue;
    if (work.todo.length === 0) running.push(Promise.resolve({ work }));
    for (const page of work.todo) {
      running.push(quiet(prepare(pool, work, page, options.retries)));
      while (running.length >= window()) yield await (running.shift() as Promise<Ahead>);
    }
  }
  for (const each of running) yield await each;
}

/** A promise whose failure is reported when its turn comes. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

async function prepare(pool: PagePool, work: Work, page: number, retries: number): Promise<Ahead> {
  if (work.strikes >= documentStrikes) {
    return {
      work,
      page,
      result: new InputError(
        `is not tried, because ${documentStrikes} pages before it ended their threads or took too long`,
      ),
    };
  }
  for (let attempt = 0; ; attempt++) {
    try {
      return { work, page, result: await pool.page(work.document, page) };
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      if (!messageOf(error).startsWith(work.document.source)) work.strikes++;
      if (attempt >= retries) return { work, page, result: error };
    }
  }
}

/** Whether a document's file is as it was by size and date; what cannot be asked is not. */
function isAsBefore({ file, range }: InputDocument, { size, modified }: OpenedDocument): boolean {
  const place = lookAt(file);
  if (place.kind !== 'file') return false;
  const { facts } = place;
  return (range?.size ?? facts.size) === size && Math.trunc(facts.mtimeMs) === modified;
}

/** Opens a document and says which of its pages are to be read; undefined where none is, or it cannot be opened. */
async function begin(context: Context, document: InputDocument): Promise<Work | undefined> {
  const { journal, pool, options, counts, inputAt } = context;
  const { key, name } = document;
  const { out, formats, overwrite = false } = options;
  const known = journal.documents.get(key);
  const wanted = outputNames(name, formats);
  try {
    // Nothing is read that could not be written.
    if (!overwrite) expectFree(out, wanted, journal.isOwn);
    if (!known || !isAsBefore(document, known.facts)) {
      const facts = await pool.open(document);
      if (known?.facts.sha256 === facts.sha256) journal.touch(key, facts);
      else journal.open(key, facts);
      await journal.sync();
    } else if (journal.failures.has(key)) journal.touch(key, known.facts);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    await failDocument(context, document, error);
    return undefined;
  }
  const state = journal.documents.get(key) as DocumentState;
  const { pages, written } = state;
  const todo = pages.flatMap((page, i) => (page === undefined || 'failure' in page ? [i] : []));
  if (written && written.name !== name) {
    // What was written once may be read now.
    const old = written.outputs.filter((output) => inputAt(join(out, output)) === undefined);
    removeOutputs(out, old);
  }
  const isThere = wanted.every(journal.isOwn) && outputsExist(out, wanted);
  if (todo.length === 0 && written?.name === name && isWritten(state) && isThere) {
    counts.unchanged++;
    journal.forget(key);
    return undefined;
  }
  return { document, todo, left: todo.length, strikes: 0 };
}

/** Writes documents' files one after the other, while pages of others are read. */
function createFinisher(context: Context) {
  const { options, state, journal, pool, counts } = context;
  let pending: Promise<void> = Promise.resolve();
  let waiting = 0;
  let failed = false;
  const finish = async (document: InputDocument) => {
    const { key, name, source } = document;
    const known = journal.documents.get(key) as DocumentState;
    const { shard, formats, out, reader, generator } = options;
    try {
      const pages = known.facts.pages;
      // Of a document that cannot be read at all there is nothing to write.
      if (known.pages.every((page) => page && 'failure' in page)) return;
      const finished = {
        name,
        info: { source, pages, reader, generator },
        page: (number: number) => pageOutput(context, known, number),
        picture: async (number: number) => {
          const page = known.pages[number - 1];
          return page && 'failure' in page ? undefined : pool.picture(document, number - 1);
        },
      };
      await claimOutputs(context, outputNames(name, formats));
      const outputs = await writeOutputs(out, finished, formats, join(state, `tmp.${shard.rank}`), options.fs);
      if (!isAsBefore(document, known.facts)) {
        removeOutputs(out, outputs);
        throw new InputError(`${source}: was changed while it was read; the next run reads it again`);
      }
      journal.finish(key, name, outputs);
      await journal.sync();
      journal.forget(key);
      counts.finished++;
    } catch (error) {
      // Where there is no room for one document, there is none for the others.
      if (!(error instanceof InputError) || isNoRoom(error)) throw error;
      await failDocument(context, document, error);
    } finally {
      waiting--;
    }
  };
  return {
    /** Waits where many documents are not written yet. Throws what ended the writing. */
    add: async (document: InputDocument) => {
      waiting++;
      pending = pending.then(() => finish(document));
      pending.catch(() => {
        failed = true;
      });
      if (waiting > 4 || failed) await pending;
    },
    end: () => pending,
  };
}

/** The journal knows a name before it is written: what a process leaves that ends right then is not taken for somebody else's. */
async function claimOutputs({ options, journal }: Context, names: readonly string[]): Promise<void> {
  if (names.every(journal.isOwn)) return;
  if (!options.overwrite) expectFree(options.out, names, journal.isOwn);
  journal.claim(names);
  await journal.sync();
}

function pageOutput({ options, journal }: Context, { pages }: DocumentState, number: number): PageOutput {
  const state = pages[number - 1];
  if (!state || 'failure' in state) {
    const error = state?.failure ?? 'was not read';
    // A page of nothing still has a size on paper: A4's.
    const [width, height] = [8.27, 11.69].map((inches) => Math.round(inches * options.dpi));
    return { number, width, height, dpi: options.dpi, text: '', lines: [], warnings: [], error };
  }
  const { timing, ...page } = journal.read(state);
  return { number, ...page, ...(options.timings && timing && { timing }) };
}

/** Pages that are left are those of open documents, and for each of the others as many as documents had so far. */
function createProgress({ options, counts }: Context, documents: number, started: number) {
  let [opened, pages] = [0, 0];
  return {
    open: (work: Work | undefined) => {
      opened++;
      pages += work?.todo.length ?? 0;
    },
    show: () => {
      const settled = counts.pages + counts.failedPages;
      const mean = opened === 0 ? 1 : pages / opened;
      options.onProgress?.({
        pages: counts.pages,
        pagesLeft: Math.max(0, Math.round(pages - settled + mean * (documents - opened))),
        failed: counts.failedPages + counts.failedDocuments,
        seconds: (performance.now() - started) / 1000,
      });
    },
  };
}
