import type { Gray } from '../image/gray.js';
import { drawLine } from '../image/line-tensor.js';
import { canvasWidth } from '../models/sam.js';
import { imageTokensAt, type VaryConfig, withImageTokens } from '../models/vary.js';
import { createStopFilter } from '../text/stream.js';
import { roomAfter } from './decoder.js';
import type { EngineRow } from './engine.js';
import type { FinishReason, GeneratedRow } from './generate.js';
import { loopAtEnd } from './loops.js';
import type { PreparedImage } from './prepare.js';
import { createPageText, type LinePlan } from './read-lines.js';
import { readPage } from './read-page.js';
import { coverageWarning, endWarnings, promptIds, type Reader, shareOf } from './reader.js';
import type { ReadOptions, ReadResult } from './reading.js';
import {
  type Attempt,
  type Attempts,
  createAttempts,
  lineWays,
  type Problem,
  type Retried,
  retryWarning,
  waysWithin,
} from './retries.js';

/** Reads a picture together with whatever else the reader's engine has to do. */
export async function readPrepared(
  reader: Reader,
  image: PreparedImage,
  options: ReadOptions = {},
): Promise<ReadResult> {
  const empty = image.kind === 'page' ? image.lineAspects.length === 0 : image.plan.pieces.length === 0;
  if (empty && (image.kind === 'lines' || !options.readBlank)) return blankResult;
  return image.kind === 'page' ? readPage(reader, image, options) : readLines(reader, image.plan, options);
}

const blankResult: ReadResult = {
  text: '',
  finishReason: 'blank',
  warnings: ['no text was found on the page'],
  usage: { promptTokens: 0, completionTokens: 0 },
  timing: { tower: 0, firstToken: 0, decode: 0 },
  coverage: 1,
};

/** Reads a page line by line. Whole lines go to `onText` as they are complete, in reading order. */
async function readLines(reader: Reader, plan: LinePlan, options: ReadOptions): Promise<ReadResult> {
  const { tokenizer, engine, config } = reader;
  const { eosId = config.decoder.eosIds } = options;
  const started = performance.now();
  const ids = promptIds(reader, options);
  const room = roomAfter(ids.length, config.decoder.maxPositions);
  const maxNewTokens = Math.min(options.maxNewTokens ?? room, room);
  const ways = waysWithin(lineWays, options);
  const attempts = plan.pieces.map(() => createAttempts(ways));
  const page = createGrowingPage(plan, options);
  const [, whole] = config.tower.imageSize;
  const asked = plan.pieces.map(({ image }) => rowOf(ids, image, config));
  const { rows, tower, firstToken } = await engine.submit({
    stopLoops: true,
    ...options,
    eosId,
    maxNewTokens,
    keepLogProbabilities: true,
    rows: asked,
    onRow: (index, row) => {
      const loop = ways.length > 0 ? loopAtEnd(row.tokens) : undefined;
      const text = tokenizer.decode(row.tokens.slice(0, loop?.start), { skipSpecialTokens: true });
      const confidence = confidenceOf(row);
      const problem = problemOf(row, text, confidence, maxNewTokens === room);
      const way = attempts[index].add({ row, text, confidence, problem });
      if (way) return rowOf(ids, way(plan.pieces[index].image, whole), config);
      page.put(index, attempts[index].best());
      return page.stopped() ? 'enough' : undefined;
    },
  });
  const { text, lines, done } = page.end();
  const finishReason = page.stopped() ? 'stop' : reasonOf([...done, ...rows.slice(done.length)]);
  const coverage = shareOf(lines.filter((line) => line.text.trim() !== '').length, plan.page.lines.length);
  const retried = retriedPieces(plan, attempts);
  return {
    text,
    lines,
    finishReason,
    warnings: [
      ...endWarnings(finishReason),
      ...retryWarning(retried),
      ...(finishReason === 'aborted' || page.stopped() ? [] : coverageWarning(coverage)),
    ],
    ...(retried.length > 0 && { retried }),
    usage: {
      promptTokens: asked.slice(0, done.length).reduce((sum, row) => sum + row.ids.length, 0),
      completionTokens: done.reduce((sum, { tokens }) => sum + tokens.length, 0),
    },
    timing: { tower, firstToken, decode: (performance.now() - started) / 1000 - firstToken },
    coverage,
  };
}

/** The text of a page whose pieces are read in whatever order, up to a stop string. */
function createGrowingPage(plan: LinePlan, { stop, onText }: ReadOptions) {
  const page = createPageText(plan);
  const filter = createStopFilter(stop);
  const readings: Attempt[] = [];
  let [text, pushed] = ['', 0];
  const emit = (added: string) => {
    text += added;
    if (added !== '') onText?.(added);
  };
  return {
    put: (index: number, reading: Attempt) => {
      readings[index] = reading;
      for (; readings[pushed]; pushed++) emit(filter.push(page.push(readings[pushed])));
    },
    stopped: () => filter.stopped() !== undefined,
    /** All text, its lines, and the rows of the pieces that it is of. */
    end: () => {
      emit(filter.end());
      return { text, lines: page.linesWithin(text.length), done: readings.slice(0, pushed).map(({ row }) => row) };
    },
  };
}

/** How a page ended, by how its pieces did. */
function reasonOf(rows: readonly GeneratedRow[]): FinishReason {
  const reasons = new Set<FinishReason>(rows.map((row) => row.finishReason));
  return (['aborted', 'repetition', 'length'] as const).find((reason) => reasons.has(reason)) ?? 'stop';
}

/** The built-in reader has 0.9 and more for every piece of clean print; below this more than half have an error. */
const leastConfidence = 0.8;

/** What is wrong with a piece; `wasFree`: only the model's own positions limit its length. */
function problemOf(
  { finishReason }: GeneratedRow,
  text: string,
  confidence: number,
  wasFree: boolean,
): Problem | undefined {
  if (finishReason === 'repetition' || (finishReason === 'length' && wasFree)) return finishReason;
  if (finishReason !== 'stop') return undefined;
  if (text.trim() === '') return 'empty';
  return confidence < leastConfidence ? 'uncertain' : undefined;
}

function retriedPieces({ pieces }: LinePlan, attempts: readonly Attempts<unknown>[]): Retried[] {
  return attempts.flatMap((of, i) => {
    const retried = of.retried();
    return retried ? [{ line: pieces[i].line, ...retried }] : [];
  });
}

/** One line as the tower takes it, on a canvas no wider than it has to be, and its prompt: `ids` are that of a whole canvas. */
function rowOf(ids: readonly number[], image: Gray, config: VaryConfig): EngineRow {
  const [height] = config.tower.imageSize;
  const width = canvasWidth(config.tower, image.width);
  return {
    ids: withImageTokens(ids, imageTokensAt(config, width)),
    picture: { shape: [3, height, width], draw: (into) => drawLine(image, { width, height }, into) },
  };
}

/** The mean probability of a row's tokens. */
function confidenceOf({ logProbabilities = [] }: GeneratedRow): number {
  const total = logProbabilities.reduce((sum, log) => sum + Math.exp(log), 0);
  return logProbabilities.length === 0 ? 0 : total / logProbabilities.length;
}
