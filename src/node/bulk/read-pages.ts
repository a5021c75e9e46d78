/** The model's side of a bulk reading: as many pages at once as keep its batches full. */
import { AbortedError } from '../../core/errors.js';
import type { PreparedImage } from '../../infer/prepare.js';
import type { ReadOptions } from '../../infer/reading.js';
import type { NodeVaryModel } from '../load-model.js';
import { returnFreedMemory } from '../ort/memory.js';
import type { StoredPage } from './journal.js';
import type { PreparedPage } from './page-worker.js';

/** A page that was prepared, and what is done with it when it was read. */
export interface PageTask {
  readonly prepared: PreparedPage;
  done(page: StoredPage): void;
}

export interface PageReader {
  /** Takes a page, and waits while the model has enough to do. Pages are done in whatever order they end. */
  add(task: PageTask): Promise<void>;
  /** Waits for all that were taken. */
  flush(): Promise<void>;
}

export type PageReadOptions = Pick<
  ReadOptions,
  'maxNewTokens' | 'prompt' | 'template' | 'retries' | 'readBlank' | 'signal'
>;

/** Rows that are read or wait to be, as multiples of what the model decodes at once. */
const rowsAhead = 3;

export function createPageReader(model: NodeVaryModel, options: PageReadOptions): PageReader {
  const running = new Set<Promise<void>>();
  let rows = 0;
  let pages = 0;
  let failure: { readonly error: unknown } | undefined;
  const expectNoFailure = () => {
    if (failure) throw failure.error;
  };
  // The first page is read alone: whoever waits for it sees it in half the time, and only one batch is not full. From then on there are
  // always two: the rows of the second are there when the first's run out.
  const hasEnough = () => (pages === 0 ? rows > 0 : running.size > 1 && rows >= rowsAhead * model.load().slots);
  const start = ({ prepared, done }: PageTask) => {
    const own = rowsOf(prepared.image);
    rows += own;
    const reading = readOne(model, prepared, options).then((page) => {
      pages++;
      done(page);
      // Runs of ever other shapes leave as much behind as the model is large.
      void returnFreedMemory();
    });
    const settled = reading
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => {
        rows -= own;
        running.delete(settled);
      });
    running.add(settled);
  };
  return {
    add: async (task) => {
      expectNoFailure();
      while (hasEnough()) await Promise.race(running);
      expectNoFailure();
      start(task);
    },
    flush: async () => {
      while (running.size > 0) await Promise.race(running);
      expectNoFailure();
    },
  };
}

const rowsOf = (image: PreparedImage | undefined): number =>
  image === undefined ? 0 : image.kind === 'page' ? 1 : image.plan.pieces.length;

async function readOne(model: NodeVaryModel, prepared: PreparedPage, options: PageReadOptions): Promise<StoredPage> {
  const { image } = prepared;
  if (!image) return textLayerPage(prepared);
  const started = performance.now();
  const result = await model.readPrepared(image, options);
  if (result.finishReason === 'aborted') throw new AbortedError('interrupted');
  const { text, lines, warnings, timing, coverage, retried = [] } = result;
  const retries = retried.reduce((sum, { attempts }) => sum + attempts - 1, 0);
  return {
    ...placeOf(prepared),
    text,
    ...(image.kind === 'lines' && { lines: lines ?? [] }),
    warnings,
    ...(coverage !== undefined && { coverage: round(coverage) }),
    ...(retries > 0 && { retries }),
    timing: {
      prepare: round(prepared.seconds),
      tower: round(timing.tower),
      read: round((performance.now() - started) / 1000),
    },
  };
}

const round = (value: number) => Math.round(1000 * value) / 1000;
const placeOf = ({ width, height, dpi }: PreparedPage) => ({ width, height, dpi });

function textLayerPage(prepared: PreparedPage): StoredPage {
  const { textLayer = [], seconds } = prepared;
  const text = textLayer
    .map((line, i) => (i === 0 ? '' : textLayer[i - 1].paragraph === line.paragraph ? '\n' : '\n\n') + line.text)
    .join('');
  const timing = { prepare: round(seconds) };
  return { ...placeOf(prepared), text, lines: textLayer, warnings: [], origin: 'text-layer', timing };
}
