import { AbortedError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Gray } from '../image/gray.js';
import { lineTensor } from '../image/line-tensor.js';
import type { Pixels } from '../image/pixels.js';
import type { VaryConfig } from '../models/vary.js';
import type { ImageTokens } from '../text/image-tokens.js';
import { type ReadPromptOptions, readPrompt } from '../text/prompt.js';
import type { PromptStyle } from '../text/prompt-style.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { CachedDecoder, Prompt } from './decoder.js';
import { type FinishReason, type GeneratedRow, generate } from './generate.js';
import { createPageText, type PieceReading, planLines } from './read-lines.js';
import type { ReadOptions, ReadResult } from './reading.js';

/** What a model of lines needs to read a page. */
export interface LineReader {
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
  readonly promptStyle: PromptStyle | undefined;
  /** The same ids for each image [N, 3, H, W], with its features. */
  prompts(ids: readonly number[], pixels: Tensor, signal?: AbortSignal): Promise<readonly Prompt[]>;
  decoder(): Promise<CachedDecoder>;
}

/** What `readPrompt` is given: the caller's template, or else the checkpoint's. */
export function promptOptions(
  style: PromptStyle | undefined,
  { prompt, template }: { readonly prompt: string | undefined; readonly template: ReadOptions['template'] | undefined },
): ReadPromptOptions {
  return {
    ...(prompt !== undefined && { text: prompt }),
    ...(template ? { template } : style),
    ...(template && template === style?.template && { turnSignal: style.turnSignal }),
  };
}

/** Pieces of lines that are decoded together. */
export const linesAtOnce = 32;

/** What was read of one piece, and why its text ended. */
export interface ReadPiece extends PieceReading {
  readonly finishReason: FinishReason;
  readonly tokens: number;
}

/** Pieces that were read together. */
export interface PieceBatch {
  readonly pieces: readonly ReadPiece[];
  /** Of each piece's prompt. */
  readonly promptTokens: number;
  /** Seconds. */
  readonly towerSeconds: number;
}

/** Reads pieces of lines, of one page or several, as one batch; undefined where it was aborted. */
export async function readPieces(
  { config, tokenizer, imageTokens, promptStyle, prompts, decoder }: LineReader,
  images: readonly Gray[],
  { prompt, template, onText: _, ...options }: ReadOptions,
): Promise<PieceBatch | undefined> {
  const [height, width] = config.tower.imageSize;
  const ids = readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, { prompt, template }));
  const room = config.decoder.maxPositions - ids.length;
  const maxNewTokens = Math.min(options.maxNewTokens ?? room, room);
  const settings = { stopLoops: true, ...options, maxNewTokens, keepLogProbabilities: true };
  const started = performance.now();
  const batch = await orAborted(prompts(ids, lineTensor(images, { width, height }), options.signal));
  const towerSeconds = (performance.now() - started) / 1000;
  if (!batch) return undefined;
  const rows = await generate(await decoder(), batch, config.decoder.eosId, settings);
  const pieces = rows.map((row) => ({
    text: tokenizer.decode(row.tokens, { skipSpecialTokens: true }),
    confidence: confidenceOf(row),
    finishReason: row.finishReason,
    tokens: row.tokens.length,
  }));
  return { pieces, promptTokens: ids.length, towerSeconds };
}

/** Reads a page: cut into lines, read as batches, put together in reading order. Whole lines go to `onText` as they are complete. */
export async function readByLines(
  reader: LineReader,
  image: Pixels,
  { onText, ...options }: ReadOptions,
): Promise<ReadResult> {
  const started = performance.now();
  const [height, width] = reader.config.tower.imageSize;
  const plan = planLines(image, { width, height });
  const page = createPageText(plan);
  const reasons = new Set<FinishReason>();
  let text = '';
  let [towerSeconds, promptTokens, completionTokens] = [0, 0, 0];
  for (let at = 0; at < plan.pieces.length && !reasons.has('aborted'); at += linesAtOnce) {
    const images = plan.pieces.slice(at, at + linesAtOnce).map((piece) => piece.image);
    const batch = await readPieces(reader, images, options);
    if (!batch) reasons.add('aborted');
    towerSeconds += batch?.towerSeconds ?? 0;
    for (const piece of batch?.pieces ?? []) {
      reasons.add(piece.finishReason);
      promptTokens += batch?.promptTokens ?? 0;
      completionTokens += piece.tokens;
      const added = page.push(piece);
      text += added;
      if (added !== '') onText?.(added);
    }
  }
  const finishReason = worstOf(reasons);
  return {
    text,
    lines: page.lines,
    finishReason,
    warnings: warningsOf(finishReason, plan.pieces.length),
    usage: { promptTokens, completionTokens },
    timing: { tower: towerSeconds, decode: (performance.now() - started) / 1000 - towerSeconds },
  };
}

/** Of several pieces: the reason a reader should know of. */
export const worstOf = (reasons: ReadonlySet<FinishReason>): FinishReason =>
  (['aborted', 'repetition', 'length'] as const).find((reason) => reasons.has(reason)) ?? 'stop';

/** Undefined where the run was aborted. */
async function orAborted<T>(run: Promise<T>): Promise<T | undefined> {
  try {
    return await run;
  } catch (error) {
    if (error instanceof AbortedError) return undefined;
    throw error;
  }
}

/** The mean probability of a row's tokens. */
function confidenceOf({ logProbabilities = [] }: GeneratedRow): number {
  const total = logProbabilities.reduce((sum, log) => sum + Math.exp(log), 0);
  return logProbabilities.length === 0 ? 0 : total / logProbabilities.length;
}

/** What a reader should know about how the text ended; `pieces` there were to read. */
export function warningsOf(finishReason: FinishReason, pieces = 1): string[] {
  if (pieces === 0) return ['no text was found on the page'];
  if (finishReason === 'length') return ['the text was cut at the token limit'];
  if (finishReason === 'repetition') return ['decoding fell into a loop and was stopped'];
  return [];
}
