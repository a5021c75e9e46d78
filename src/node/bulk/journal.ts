/**
 * The journal of a job: lines of JSON, only ever added, on the disk before anything counts on them. A line that is not whole was
 * being written when its process ended and does not count. Every process of a job (a rank) has a journal of its own and reads all.
 */
import nodeFs, { closeSync, fstatSync, ftruncateSync, openSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { createQueue } from '../../core/queue.js';
import type { PageOutput } from '../../output/document/page.js';
import { syncFile, type WriteCalls } from '../atomic.js';
import { readRange } from '../files.js';
import { makeDirectories } from '../place.js';
import type { OpenedDocument } from './page-worker.js';

/** A page as the journal keeps it. */
export type StoredPage = Omit<PageOutput, 'number'>;

/** A page that was read is where its line is; one that failed says why. */
export type PageState =
  | { readonly journal: number; readonly offset: number; readonly length: number; readonly warnings: number }
  | { readonly failure: string; readonly attempts: number };

/** What journals say of a document. */
export interface DocumentState {
  readonly key: string;
  readonly facts: OpenedDocument;
  /** When it was opened last, in milliseconds since 1970. */
  readonly at: number;
  /** By page; undefined where nothing was tried yet. */
  readonly pages: (PageState | undefined)[];
  /** What its files were called, which there are, and how many pages they lack because these failed. */
  written?: { readonly name: string; readonly outputs: readonly string[]; readonly missing: number };
}

/** A document that could not be opened. */
export interface DocumentFailure {
  readonly reason: string;
  readonly attempts: number;
  readonly at: number;
}

/** What one run of a process did, from its first page to its last file. */
export interface RunRecord {
  /** In milliseconds since 1970. */
  readonly began: number;
  readonly seconds: number;
  readonly pages: number;
}

interface OpenLine {
  readonly open: number;
  readonly key: string;
  readonly facts: OpenedDocument;
  readonly at: number;
}

type Line =
  | OpenLine
  | { readonly page: readonly [document: number, page: number]; readonly reading: StoredPage }
  | { readonly page: readonly [document: number, page: number]; readonly failure: string; readonly attempts: number }
  | {
      readonly done: number;
      readonly name: string;
      readonly outputs: readonly string[];
      readonly missing: number;
      readonly at: number;
    }
  /** Names that are about to be written. */
  | { readonly claim: readonly string[] }
  | { readonly failed: string; readonly reason: string; readonly attempts: number; readonly at: number }
  | { readonly run: RunRecord };

export interface Journal {
  /** By key. */
  readonly documents: ReadonlyMap<string, DocumentState>;
  readonly failures: ReadonlyMap<string, DocumentFailure>;
  /** A document is begun, or begun anew: what was known of it is void. */
  open(key: string, facts: OpenedDocument): void;
  /** Its file has another date and the same contents. */
  touch(key: string, facts: OpenedDocument): void;
  page(key: string, page: number, reading: StoredPage): void;
  failPage(key: string, page: number, failure: string, attempts: number): void;
  fail(key: string, reason: string, attempts: number): void;
  finish(key: string, name: string, outputs: readonly string[]): void;
  /** From when this is on the disk, whatever has these names is the job's. */
  claim(outputs: readonly string[]): void;
  /** Whether a wanted name was ever claimed or written, by whatever process of the job. */
  isOwn(output: string): boolean;
  run(record: RunRecord): void;
  /**
   * What was added before is on the disk, and known, when this is done. Rejects with InputError where it cannot be written; nothing
   * half-written stays, and the next `sync` tries it again.
   */
  sync(): Promise<void>;
  /** A page that was read. */
  read(state: PageState): StoredPage;
  /** Nothing more is said or asked of a document in this run: what is known of it is on the disk, and takes no memory. */
  forget(key: string): void;
  /** Waits for what is being written, and takes no more. */
  dispose(): Promise<void>;
}

const journalName = (rank: number) => `journal.${rank}.jsonl`;
const newline = 10;
/** Bytes that are read at once. */
const chunkSize = 1 << 22;

/** Whole lines of a file with their places. */
export function* wholeLines(handle: number): Generator<{ readonly bytes: Uint8Array; readonly offset: number }> {
  let rest: Uint8Array = new Uint8Array(0);
  let start = 0;
  for (let at = 0; ; ) {
    const chunk = readRange(handle, at, chunkSize);
    if (chunk.length === 0) return;
    at += chunk.length;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, from)) {
      yield { bytes: bytes.subarray(from, end), offset: start + from };
      from = end + 1;
    }
    rest = bytes.subarray(from);
    start += from;
  }
}

/** What is to be remembered of all that journals say. */
export interface Wanted {
  readonly key: (key: string) => boolean;
  readonly output: (output: string) => boolean;
}

/** What the journals say, put together. */
/** The order in which journals are taken does not matter: of what contradicts itself, the later one counts. */
function createState(wanted: Wanted) {
  const outputs = new Set<string>();
  const own = (names: readonly string[]) => {
    for (const name of names) if (wanted.output(name)) outputs.add(name);
  };
  const documents = new Map<string, DocumentState>();
  const failures = new Map<string, DocumentFailure>();
  const runs: (RunRecord & { readonly journal: number })[] = [];
  const settledAt = new Map<string, number>();
  /** Whatever failed before is void. */
  const settle = (key: string, at: number) => {
    settledAt.set(key, Math.max(at, settledAt.get(key) ?? at));
    if ((failures.get(key)?.at ?? at) <= at) failures.delete(key);
  };
  const opened = ({ key, facts, at }: OpenLine): DocumentState => {
    const known = documents.get(key);
    settle(key, at);
    if (known?.facts.sha256 === facts.sha256) {
      if (at >= known.at) Object.assign(known, { facts, at });
      return known;
    }
    const state: DocumentState = { key, facts, at, pages: Array(facts.pages).fill(undefined) };
    if (!known || at >= known.at) documents.set(key, state);
    return state;
  };
  /** Takes one journal's lines; a document's number is that journal's own, and `states` are those of its numbers. */
  const reader = (journal: number, states = new Map<number, DocumentState>()) => {
    return (line: Line, offset: number, length: number) => {
      if ('open' in line) {
        if (wanted.key(line.key)) states.set(line.open, opened(line));
      } else if ('run' in line) {
        runs.push({ ...line.run, journal });
      } else if ('failed' in line) {
        const { failed: key, reason, attempts, at } = line;
        if (wanted.key(key) && at >= (settledAt.get(key) ?? at)) failures.set(key, { reason, attempts, at });
      } else if ('claim' in line) {
        own(line.claim);
      } else if ('done' in line) {
        own(line.outputs);
        const state = states.get(line.done);
        if (!state) return;
        settle(state.key, line.at);
        // Failed pages only ever become fewer.
        if (line.missing <= (state.written?.missing ?? line.missing)) state.written = line;
      } else {
        const state = states.get(line.page[0]);
        const known = state?.pages[line.page[1]];
        // What one process could not read, another may have read since.
        if (!state || ('failure' in line && known && !('failure' in known))) return;
        state.pages[line.page[1]] =
          'failure' in line
            ? { failure: line.failure, attempts: line.attempts }
            : { journal, offset, length, warnings: line.reading.warnings.length };
      }
    };
  };
  const forget = (key: string) => {
    for (const output of documents.get(key)?.written?.outputs ?? []) outputs.delete(output);
    for (const known of [documents, failures, settledAt]) known.delete(key);
  };
  return { documents, failures, runs, outputs, reader, forget };
}

export const countFailed = ({ pages }: DocumentState): number =>
  pages.filter((page) => page && 'failure' in page).length;

/** Its files are written and have every page that could be read. */
export const isWritten = (state: DocumentState): boolean =>
  state.written?.missing === countFailed(state) && state.pages.every((page) => page !== undefined);

/** Opens the journals in `dir`, the one of `rank` for writing. */
export function openJournal(dir: string, rank: number, wanted: Wanted, fs: WriteCalls = nodeFs): Journal {
  const handles: number[] = [];
  const state = createState(wanted);
  const own = join(dir, journalName(rank));
  let numbers = 0;
  let size = 0;
  let writing = -1;
  let take: ReturnType<typeof state.reader> = () => undefined;
  const numbered = new Map<number, DocumentState>();
  const load = (name: string) => {
    const path = join(dir, name);
    const isOwn = path === own;
    const handle = openSync(path, isOwn ? 'r+' : 'r');
    const index = handles.push(handle) - 1;
    const accept = state.reader(index, isOwn ? numbered : undefined);
    for (const { bytes, offset } of wholeLines(handle)) {
      const line = parseLine(bytes, `${path}: byte ${offset}`);
      accept(line, offset, bytes.length);
      if (isOwn && 'open' in line) numbers = Math.max(numbers, line.open + 1);
      if (isOwn) size = offset + bytes.length + 1;
    }
    if (!isOwn) return;
    [writing, take] = [index, accept];
    if (fstatSync(handle).size > size) ftruncateSync(handle, size);
  };
  try {
    makeDirectories(dir);
    closeSync(fs.openSync(own, 'a'));
    // The own one last: what it says is newest.
    const others = journalNames(dir).filter((name) => join(dir, name) !== own);
    for (const name of [...others, journalName(rank)]) load(name);
  } catch (cause) {
    for (const handle of handles) closeSync(handle);
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${own}: cannot be used: ${messageOf(cause)}`, { cause });
  }
  return createWriter({ state, numbered, handles, own, writing, take, size, numbers, fs });
}

/** All journals of a job as they are now, for reading. Changes nothing; nothing where there are none. */
export interface JournalSurvey {
  readonly documents: ReadonlyMap<string, DocumentState>;
  readonly failures: ReadonlyMap<string, DocumentFailure>;
  readonly runs: readonly (RunRecord & { readonly journal: number })[];
  /** By the number that pages and runs have: whose journal it is. */
  readonly ranks: readonly number[];
  /** Of all journals together. */
  readonly bytes: number;
  read(state: PageState): StoredPage;
}

export function surveyJournals<T>(dir: string, use: (survey: JournalSurvey) => T): T {
  const { reader, ...state } = createState({ key: () => true, output: () => false });
  const names = journalNames(dir);
  const bytes = journalBytes(dir);
  const handles = names.map((name) => openSync(join(dir, name), 'r'));
  try {
    for (const [i, handle] of handles.entries()) {
      const accept = reader(i);
      for (const { bytes: line, offset } of wholeLines(handle)) {
        accept(parseLine(line, `${join(dir, names[i])}: byte ${offset}`), offset, line.length);
      }
    }
    const ranks = names.map((name) => Number(name.split('.')[1]));
    return use({ ...state, ranks, bytes, read: (page) => readStored(page, handles, dir) });
  } finally {
    for (const handle of handles) closeSync(handle);
  }
}

/** What the journals in `dir` take: it grows with every line. */
export const journalBytes = (dir: string): number =>
  journalNames(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);

const journalNames = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => /^journal\.\d+\.jsonl$/.test(name))
    .sort();

function readStored(page: PageState, handles: readonly number[], where: string): StoredPage {
  if (!('offset' in page)) throw new InputError(`${where}: that page was not read: ${page.failure}`);
  const bytes = readRange(handles[page.journal], page.offset, page.length);
  return (parseLine(bytes, `${where}: byte ${page.offset}`) as { reading: StoredPage }).reading;
}

function parseLine(bytes: Uint8Array, where: string): Line {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Line;
  } catch (cause) {
    throw new InputError(`${where}: the journal is damaged: ${messageOf(cause)}; name another output directory`, {
      cause,
    });
  }
}

interface AppendParts {
  /** For reading; number `writing` of them is written to, and is called `own`. */
  readonly handles: readonly number[];
  readonly own: string;
  readonly writing: number;
  readonly take: (line: Line, offset: number, length: number) => void;
  /** Of the file. */
  readonly size: number;
  readonly fs: WriteCalls;
}

interface WriterParts extends AppendParts {
  readonly state: ReturnType<typeof createState>;
  /** Of the numbers of the journal that is written. */
  readonly numbered: Map<number, DocumentState>;
  readonly numbers: number;
}

/** Lines that are added to a file, and taken once they are on the disk. */
function createAppender({ handles, own, writing, take, size: whole, fs }: AppendParts) {
  const encoder = new TextEncoder();
  const inTurn = createQueue();
  let isOpen = true;
  let size = whole;
  let pending: { readonly line: Line; readonly bytes: Uint8Array }[] = [];
  const write = async () => {
    if (pending.length === 0) return;
    if (!isOpen) throw new InputError(`${own}: was closed`);
    const handle = handles[writing];
    const start = size;
    const lines = pending;
    pending = [];
    try {
      for (const { bytes } of lines) {
        writeWhole(handle, bytes, size, fs);
        size += bytes.length;
      }
      await syncFile(handle, fs);
    } catch (cause) {
      pending = [...lines, ...pending];
      size = start;
      try {
        ftruncateSync(handle, size);
      } catch {
        // A line that is not whole does not count; the first failure is the one to report.
      }
      throw new InputError(`${own}: could not be written: ${messageOf(cause)}; what was done before is kept`, {
        cause,
      });
    }
    let at = start;
    for (const { line, bytes } of lines) {
      take(line, at, bytes.length - 1);
      at += bytes.length;
    }
  };
  return {
    put: (line: Line) => void pending.push({ line, bytes: encoder.encode(`${JSON.stringify(line)}\n`) }),
    sync: () => inTurn(write),
    dispose: () =>
      inTurn(async () => {
        isOpen = false;
        for (const handle of handles) closeSync(handle);
      }),
  };
}

function createWriter({ state, numbered, numbers, ...parts }: WriterParts): Journal {
  const { put, sync, dispose } = createAppender(parts);
  const numberOf = new Map<string, number>();
  let nextNumber = numbers;
  const open = (key: string, facts: OpenedDocument): number => {
    const number = nextNumber++;
    numberOf.set(key, number);
    put({ open: number, key, facts, at: Date.now() });
    return number;
  };
  /** A document of a journal that is not this process's is opened here before more is said of it. */
  const number = (key: string): number =>
    numberOf.get(key) ?? open(key, (state.documents.get(key) as DocumentState).facts);
  return {
    documents: state.documents,
    failures: state.failures,
    open: (key, facts) => void open(key, facts),
    touch: (key, facts) => void open(key, facts),
    page: (key, page, reading) => put({ page: [number(key), page], reading }),
    failPage: (key, page, failure, attempts) => put({ page: [number(key), page], failure, attempts }),
    fail: (key, reason, attempts) => put({ failed: key, reason, attempts, at: Date.now() }),
    finish: (key, name, outputs) => {
      const missing = countFailed(state.documents.get(key) as DocumentState);
      put({ done: number(key), name, outputs, missing, at: Date.now() });
    },
    claim: (outputs) => put({ claim: outputs }),
    isOwn: (output) => state.outputs.has(output),
    run: (record) => put({ run: record }),
    sync,
    read: (place) => readStored(place, parts.handles, parts.own),
    forget: (key) => {
      numbered.delete(numberOf.get(key) ?? -1);
      numberOf.delete(key);
      state.forget(key);
    },
    dispose,
  };
}

export function writeWhole(handle: number, bytes: Uint8Array, at: number, fs: WriteCalls): void {
  for (let done = 0; done < bytes.length; ) {
    const written = fs.writeSync(handle, bytes, done, bytes.length - done, at + done);
    if (written === 0) throw new Error('nothing was written');
    done += written;
  }
}
