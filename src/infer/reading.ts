import type { ReadLine } from '../image/read-line.js';
import type { PromptTemplate } from '../text/prompt.js';
import type { FinishReason, GenerateOptions } from './generate.js';
import type { Retried } from './retries.js';

export interface ReadOptions extends Omit<GenerateOptions, 'beams' | 'onToken'> {
  /** An instruction beside the picture. */
  readonly prompt?: string;
  /** Default: as the checkpoint was trained, where its config says it (`vary_template`); else plain. */
  readonly template?: PromptTemplate;
  /** Text ends before the first of these; of a model that reads line by line it is the text of the lines joined. */
  readonly stop?: readonly string[];
  /** 'test' as Vary's training had it (default), 'blip' as run_opt_with_text.py. */
  readonly transform?: 'test' | 'blip';
  /** Ask the model also about a picture in which no lines of text are found. Default false: the text is empty then. */
  readonly readBlank?: boolean;
  /**
   * How often what was read badly is tried again in another way, at most: 0 to 2. A page that fell into a loop goes on from before
   * it; a line in a loop, without text or with little confidence is shown to the model anew. Default 2. Not without `stopLoops`.
   */
  readonly retries?: number;
  /** Text as it is decoded, whole characters only. */
  readonly onText?: (text: string) => void;
  /** When to give up, by `performance.now()`: a DeadlineError. */
  readonly deadline?: number;
}

export interface ReadResult {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly warnings: readonly string[];
  /** What was tried again, in reading order; not there where nothing was. */
  readonly retried?: readonly Retried[];
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number };
  /** Seconds: in the tower; until the first token, waiting included; from then on. */
  readonly timing: { readonly tower: number; readonly firstToken: number; readonly decode: number };
  /** The share of the lines with ink that text was read for, from 0 to 1, as far as it can be told. */
  readonly coverage?: number;
  /** Of a model that reads line by line: the lines in reading order, with their places. */
  readonly lines?: readonly ReadLine[];
}
