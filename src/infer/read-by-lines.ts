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
import { joinLines, planLines } from './read-lines.js';
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

/** Reads a page: cut into lines, read as batches, put together in reading order. */
export async function readByLines(
  { config, tokenizer, imageTokens, promptStyle, prompts, decoder }: LineReader,
  image: Pixels,
  { prompt, template, onText, ...options }: ReadOptions,
): Promise<ReadResult> {
  const started = performance.now();
  const [height, width] = config.tower.imageSize;
  const plan = planLines(image, { width, height });
  const ids = readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, { prompt, template }));
  const room = config.decoder.maxPositions - ids.length;
  const rows: GeneratedRow[] = [];
  let towerSeconds = 0;
  for (let at = 0; at < plan.pieces.length; at += linesAtOnce) {
    const images = plan.pieces.slice(at, at + linesAtOnce).map((piece) => piece.image);
    const towerStarted = performance.now();
    const batch = await prompts(ids, lineTensor(images, { width, height }), options.signal);
    towerSeconds += (performance.now() - towerStarted) / 1000;
    const maxNewTokens = Math.min(options.maxNewTokens ?? room, room);
    rows.push(
      ...(await generate(await decoder(), batch, config.decoder.eosId, { stopLoops: true, ...options, maxNewTokens })),
    );
  }
  const texts = rows.map(({ tokens }) => tokenizer.decode(tokens, { skipSpecialTokens: true }));
  const { text, lines } = joinLines(plan, texts);
  onText?.(text);
  const finishReason = rows.find((row) => row.finishReason !== 'stop')?.finishReason ?? 'stop';
  return {
    text,
    lines,
    finishReason,
    warnings: lines.length === 0 ? ['no text was found on the page'] : warningsOf(finishReason),
    usage: {
      promptTokens: ids.length * rows.length,
      completionTokens: rows.reduce((sum, { tokens }) => sum + tokens.length, 0),
    },
    timing: { tower: towerSeconds, decode: (performance.now() - started) / 1000 - towerSeconds },
  };
}

/** What a reader should know about how the text ended. */
export function warningsOf(finishReason: FinishReason): string[] {
  if (finishReason === 'length') return ['the text was cut at the token limit'];
  if (finishReason === 'repetition') return ['decoding fell into a loop and was stopped'];
  return [];
}
