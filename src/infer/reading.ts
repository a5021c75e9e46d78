import type { ReadLine } from '../image/read-line.js';
import type { PromptTemplate } from '../text/prompt.js';
import type { FinishReason, GenerateOptions } from './generate.js';

export interface ReadOptions extends Omit<GenerateOptions, 'beams' | 'onToken'> {
  /** An instruction beside the picture. */
  readonly prompt?: string;
  /** Default: as the checkpoint was trained, where its config says it (`vary_template`); else plain. */
  readonly template?: PromptTemplate;
  /** Text ends before the first of these. */
  readonly stop?: readonly string[];
  /** 'test' as Vary's training had it (default), 'blip' as run_opt_with_text.py. */
  readonly transform?: 'test' | 'blip';
  /** Text as it is decoded, whole characters only. */
  readonly onText?: (text: string) => void;
}

export interface ReadResult {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly warnings: readonly string[];
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number };
  /** Seconds. */
  readonly timing: { readonly tower: number; readonly decode: number };
  /** Of a model that reads line by line: the lines in reading order, with their places. */
  readonly lines?: readonly ReadLine[];
}
