/** The model's side of a bulk reading: pieces of lines of many pages, read in batches of like widths. */
import { AbortedError } from '../../core/errors.js';
import type { Gray } from '../../image/gray.js';
import { linesAtOnce, type ReadPiece, warningsOf, worstOf } from '../../infer/read-by-lines.js';
import { createPageText } from '../../infer/read-lines.js';
import type { ReadOptions } from '../../infer/reading.js';
import type { NodeVaryModel } from '../load-model.js';
import type { StoredPage } from './journal.js';
import type { PreparedPage } from './page-worker.js';

/** A page that was prepared, and what is done with it when it was read. */
export interface PageTask {
  readonly prepared: PreparedPage;
  done(page: StoredPage): void;
}

export interface BatchReader {
  /** Takes a page; some that were taken before may be read by the time this returns. */
  add(task: PageTask): Promise<void>;
  /** Reads all that is left. */
  flush(): Promise<void>;
}

interface Slot extends PageTask {
  readonly results: ReadPiece[];
  left: number;
  seconds: number;
}

interface Waiting {
  readonly slot: Slot;
  readonly index: number;
  readonly image: Gray;
}

/** Batches that are filled together, so that lines of like width meet: a batch takes as long as its longest. */
const batchesAtOnce = 4;
/** A piece whose text fell into a loop is read once more with this penalty. */
const loopPenalty = 1.3;

type BatchOptions = Pick<ReadOptions, 'maxNewTokens' | 'prompt' | 'template' | 'signal'>;

export function createBatchReader(model: NodeVaryModel, options: BatchOptions): BatchReader {
  let waiting: Waiting[] = [];
  const readBatch = async (batch: readonly Waiting[], penalty = 1): Promise<void> => {
    const started = performance.now();
    const images = batch.map(({ image }) => image);
    const read = await model.readPieces(images, { ...options, repetitionPenalty: penalty });
    if (!read || read.pieces.some(({ finishReason }) => finishReason === 'aborted'))
      throw new AbortedError('interrupted');
    const seconds = (performance.now() - started) / 1000 / batch.length;
    const looped: Waiting[] = [];
    for (const [i, each] of batch.entries()) {
      const { slot, index } = each;
      const piece = read.pieces[i];
      slot.seconds += seconds;
      if (penalty === 1 && piece.finishReason === 'repetition') looped.push(each);
      if (penalty === 1 || piece.finishReason === 'stop') slot.results[index] = piece;
    }
    if (looped.length > 0) await readBatch(looped, loopPenalty);
    if (penalty !== 1) return;
    for (const { slot } of batch) if (--slot.left === 0) slot.done(pageOf(slot));
  };
  const flush = async () => {
    const group = waiting.sort((a, b) => a.image.width - b.image.width);
    waiting = [];
    for (let at = 0; at < group.length; at += linesAtOnce) await readBatch(group.slice(at, at + linesAtOnce));
  };
  return {
    flush,
    add: async (task) => {
      const { prepared } = task;
      if (prepared.textLayer) return task.done(textLayerPage(prepared));
      if (prepared.pixels) return task.done(await readWhole(model, prepared, options));
      const pieces = prepared.lines?.pieces ?? [];
      const slot: Slot = { ...task, results: [], left: pieces.length, seconds: 0 };
      if (pieces.length === 0) return task.done(pageOf(slot));
      for (const [index, image] of pieces.entries()) waiting.push({ slot, index, image });
      if (waiting.length >= batchesAtOnce * linesAtOnce) await flush();
    },
  };
}

const round = (seconds: number) => Math.round(1000 * seconds) / 1000;

function pageOf({ prepared, results, seconds }: Slot): StoredPage {
  const { width, height, dpi, lines } = prepared;
  const page = createPageText(
    lines?.layout ?? { page: { page: { width, height }, skew: 0, dark: false, lines: [] }, pieces: [] },
  );
  const text = results.map((result) => page.push(result)).join('');
  const reason = worstOf(new Set(results.map(({ finishReason }) => finishReason)));
  const warnings = warningsOf(reason, results.length);
  return {
    width,
    height,
    dpi,
    text,
    lines: page.lines,
    warnings,
    timing: { prepare: round(prepared.seconds), read: round(seconds) },
  };
}

function textLayerPage({ width, height, dpi, textLayer = [], seconds }: PreparedPage): StoredPage {
  const text = textLayer
    .map((line, i) => (i === 0 ? '' : textLayer[i - 1].paragraph === line.paragraph ? '\n' : '\n\n') + line.text)
    .join('');
  return {
    width,
    height,
    dpi,
    text,
    lines: textLayer,
    warnings: [],
    origin: 'text-layer',
    timing: { prepare: round(seconds), read: 0 },
  };
}

async function readWhole(model: NodeVaryModel, prepared: PreparedPage, options: BatchOptions): Promise<StoredPage> {
  const { width, height, dpi, pixels, seconds } = prepared;
  const started = performance.now();
  const { text, lines, warnings, finishReason } = await model.read(pixels as NonNullable<typeof pixels>, options);
  if (finishReason === 'aborted') throw new AbortedError('interrupted');
  const timing = { prepare: round(seconds), read: round((performance.now() - started) / 1000) };
  return { width, height, dpi, text, ...(lines && { lines }), warnings, timing };
}
