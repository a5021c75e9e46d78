import { floatView, type Tensor } from '../core/tensor.js';
import type { Gray } from '../image/gray.js';
import { lineTensor } from '../image/line-tensor.js';
import type { VaryConfig } from '../models/vary.js';
import type { ImageTokens } from '../text/image-tokens.js';
import { type ReadPromptOptions, readPrompt } from '../text/prompt.js';
import type { PromptStyle } from '../text/prompt-style.js';
import { createTextStream } from '../text/stream.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Engine } from './engine.js';
import type { FinishReason, GeneratedRow } from './generate.js';
import type { PreparedImage } from './prepare.js';
import { createPageText, type LinePlan } from './read-lines.js';
import type { ReadOptions, ReadResult } from './reading.js';

/** What reading needs of a model. */
export interface Reader {
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
  readonly promptStyle: PromptStyle | undefined;
  readonly engine: Engine;
}

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

/** What `readPrompt` is given: the caller's template, or else the checkpoint's. */
function promptOptions(
  style: PromptStyle | undefined,
  { prompt, template }: Pick<ReadOptions, 'prompt' | 'template'>,
): ReadPromptOptions {
  return {
    ...(prompt !== undefined && { text: prompt }),
    ...(template ? { template } : style),
    ...(template && template === style?.template && { turnSignal: style.turnSignal }),
  };
}

const promptIds = ({ tokenizer, imageTokens, promptStyle }: Reader, options: ReadOptions): number[] =>
  readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, options));

async function readPage(
  reader: Reader,
  { pixels, lineAspects }: Extract<PreparedImage, { kind: 'page' }>,
  options: ReadOptions,
): Promise<ReadResult> {
  const { tokenizer, engine, config } = reader;
  const { stop, onText, eosId = config.decoder.eosId } = options;
  const started = performance.now();
  const ids = promptIds(reader, options);
  const stream = createTextStream(tokenizer, stop && { stop });
  let text = '';
  const emit = (more: string) => {
    if (more === '') return;
    text += more;
    onText?.(more);
  };
  const { rows, tower, firstToken } = await engine.submit({
    stopLoops: true,
    ...options,
    eos: eosId,
    rows: [{ ids, pixels: () => pixels }],
    onToken: (_, token) => {
      emit(stream.push(token));
      return stream.stopped() !== undefined;
    },
  });
  emit(stream.end());
  const [{ tokens, finishReason }] = rows;
  const coverage = coverageOf(text, lineAspects);
  return {
    text,
    finishReason,
    warnings: [...warningsOf(finishReason), ...(finishReason === 'stop' ? coverageWarning(coverage) : [])],
    usage: { promptTokens: ids.length, completionTokens: tokens.length },
    timing: { tower, firstToken, decode: (performance.now() - started) / 1000 - firstToken },
    coverage,
  };
}

/** Reads a page line by line. Whole lines go to `onText` as they are complete, in reading order. */
async function readLines(reader: Reader, plan: LinePlan, options: ReadOptions): Promise<ReadResult> {
  const { tokenizer, engine, config } = reader;
  const { onText, eosId = config.decoder.eosId } = options;
  const started = performance.now();
  const page = createPageText(plan);
  const ids = promptIds(reader, options);
  const room = config.decoder.maxPositions - ids.length;
  const ended: GeneratedRow[] = [];
  let [text, pushed] = ['', 0];
  const pushRow = (row: GeneratedRow) => {
    const added = page.push({
      text: tokenizer.decode(row.tokens, { skipSpecialTokens: true }),
      confidence: confidenceOf(row),
    });
    text += added;
    if (added !== '') onText?.(added);
  };
  const [height, width] = config.tower.imageSize;
  const { rows, tower, firstToken } = await engine.submit({
    stopLoops: true,
    ...options,
    eos: eosId,
    maxNewTokens: Math.min(options.maxNewTokens ?? room, room),
    keepLogProbabilities: true,
    rows: plan.pieces.map(({ image }) => ({ ids, pixels: () => pieceTensor(image, width, height) })),
    onRow: (index, row) => {
      ended[index] = row;
      for (; ended[pushed]; pushed++) pushRow(ended[pushed]);
    },
  });
  const done = rows.slice(0, pushed);
  const reasons = new Set<FinishReason>(rows.map((row) => row.finishReason));
  const finishReason = (['aborted', 'repetition', 'length'] as const).find((reason) => reasons.has(reason)) ?? 'stop';
  const coverage = shareOf(page.lines.filter((line) => line.text.trim() !== '').length, plan.page.lines.length);
  return {
    text,
    lines: page.lines,
    finishReason,
    warnings: [...warningsOf(finishReason), ...(finishReason === 'aborted' ? [] : coverageWarning(coverage))],
    usage: {
      promptTokens: done.length * ids.length,
      completionTokens: done.reduce((sum, { tokens }) => sum + tokens.length, 0),
    },
    timing: { tower, firstToken, decode: (performance.now() - started) / 1000 - firstToken },
    coverage,
  };
}

/** One line as the tower takes it: [3, height, width]. */
function pieceTensor(image: Gray, width: number, height: number): Tensor<'float32'> {
  const { data } = lineTensor([image], { width, height });
  return floatView([3, height, width], data as Float32Array);
}

/** The mean probability of a row's tokens. */
function confidenceOf({ logProbabilities = [] }: GeneratedRow): number {
  const total = logProbabilities.reduce((sum, log) => sum + Math.exp(log), 0);
  return logProbabilities.length === 0 ? 0 : total / logProbabilities.length;
}

/** What a reader should know about how the text ended. */
function warningsOf(finishReason: FinishReason): string[] {
  if (finishReason === 'length') return ['the text was cut at the token limit'];
  if (finishReason === 'repetition') return ['decoding fell into a loop and was stopped'];
  return [];
}

const shareOf = (part: number, whole: number) => (whole === 0 ? 1 : part / whole);

/** Characters of print that stand on a width of one line's height of ink, at least: wide capitals, spaced. */
const leastCharacters = 0.8;

/** The share of lines whose ink the text could be, by their length alone. */
function coverageOf(text: string, lineAspects: readonly number[]): number {
  const expected = lineAspects.reduce((sum, aspect) => sum + leastCharacters * aspect, 0);
  return Math.min(1, shareOf(text.replaceAll(/\s+/g, '').length, expected));
}

/** Below this share of lines with text a reader should look again. */
const leastCoverage = 0.8;

function coverageWarning(coverage: number): string[] {
  if (coverage >= leastCoverage) return [];
  return [`about ${Math.round(100 * (1 - coverage))} % of the page's lines have no text`];
}
