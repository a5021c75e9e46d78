import { AbortedError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { lineTensor } from '../image/line-tensor.js';
import type { Pixels } from '../image/pixels.js';
import type { VaryConfig } from '../models/vary.js';
import type { ImageTokens } from '../text/image-tokens.js';
import { type ReadPromptOptions, readPrompt } from '../text/prompt.js';
import type { PromptStyle } from '../text/prompt-style.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { CachedDecoder, Prompt } from './decoder.js';
import { type FinishReason, type GeneratedRow, generate } from './generate.js';
import { createPageText, planLines } from './read-lines.js';
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
const linesAtOnce = 32;

/** Reads a page: cut into lines, read as batches, put together in reading order. Whole lines go to `onText` as they are complete. */
export async function readByLines(
  { config, tokenizer, imageTokens, promptStyle, prompts, decoder }: LineReader,
  image: Pixels,
  { prompt, template, onText, ...options }: ReadOptions,
): Promise<ReadResult> {
  const started = performance.now();
  const [height, width] = config.tower.imageSize;
  const plan = planLines(image, { width, height });
  const page = createPageText(plan);
  const ids = readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, { prompt, template }));
  const room = config.decoder.maxPositions - ids.length;
  const maxNewTokens = Math.min(options.maxNewTokens ?? room, room);
  const settings = { stopLoops: true, ...options, maxNewTokens, keepLogProbabilities: true };
  const reasons = new Set<FinishReason>();
  let text = '';
  let [towerSeconds, promptTokens, completionTokens] = [0, 0, 0];
  for (let at = 0; at < plan.pieces.length && !reasons.has('aborted'); at += linesAtOnce) {
    const images = plan.pieces.slice(at, at + linesAtOnce).map((piece) => piece.image);
    const towerStarted = performance.now();
    const batch = await orAborted(prompts(ids, lineTensor(images, { width, height }), options.signal));
    towerSeconds += (performance.now() - towerStarted) / 1000;
    const rows = batch && (await generate(await decoder(), batch, config.decoder.eosId, settings));
    if (!rows) reasons.add('aborted');
    for (const row of rows ?? []) {
      reasons.add(row.finishReason);
      promptTokens += ids.length;
      completionTokens += row.tokens.length;
      const added = page.push({
        text: tokenizer.decode(row.tokens, { skipSpecialTokens: true }),
        confidence: confidenceOf(row),
      });
      text += added;
      if (added !== '') onText?.(added);
    }
  }
  const finishReason = (['aborted', 'repetition', 'length'] as const).find((reason) => reasons.has(reason)) ?? 'stop';
  return {
    text,
    lines: page.lines,
    finishReason,
    warnings: plan.pieces.length === 0 ? ['no text was found on the page'] : warningsOf(finishReason),
    usage: { promptTokens, completionTokens },
    timing: { tower: towerSeconds, decode: (performance.now() - started) / 1000 - towerSeconds },
  };
}

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

/** What a reader should know about how the text ended. */
export function warningsOf(finishReason: FinishReason): string[] {
  if (finishReason === 'length') return ['the text was cut at the token limit'];
  if (finishReason === 'repetition') return ['decoding fell into a loop and was stopped'];
  return [];
}
