/** What reading a page as a whole and reading it line by line have in common. */
import type { VaryConfig } from '../models/vary.js';
import type { ImageTokens } from '../text/image-tokens.js';
import { type ReadPromptOptions, readPrompt } from '../text/prompt.js';
import type { PromptStyle } from '../text/prompt-style.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Engine } from './engine.js';
import type { FinishReason } from './generate.js';
import type { ReadOptions } from './reading.js';

/** What reading needs of a model. */
export interface Reader {
  readonly config: VaryConfig;
  readonly tokenizer: Tokenizer;
  readonly imageTokens: ImageTokens;
  readonly promptStyle: PromptStyle | undefined;
  readonly engine: Engine;
}

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

/** The ids that a row of the reader begins with. */
export const promptIds = ({ tokenizer, imageTokens, promptStyle }: Reader, options: ReadOptions): number[] =>
  readPrompt(tokenizer, imageTokens, promptOptions(promptStyle, options));

/** What a reader should know about how the text ended. */
export function endWarnings(finishReason: FinishReason): string[] {
  if (finishReason === 'length') return ['the text was cut at the token limit'];
  if (finishReason === 'repetition') return ['decoding fell into a loop and was stopped'];
  return [];
}

/** Below this share of lines with text a reader should look again. */
const leastCoverage = 0.8;

export function coverageWarning(coverage: number): string[] {
  if (coverage >= leastCoverage) return [];
  return [`about ${Math.round(100 * (1 - coverage))} % of the page's lines have no text`];
}

export const shareOf = (part: number, whole: number): number => (whole === 0 ? 1 : part / whole);
