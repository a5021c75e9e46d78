import { AbortedError, InputError } from '../core/errors.js';
import { logSoftmax } from '../core/logits.js';
import { createRng } from '../core/rng.js';
import { beamSearch } from './beam.js';
import type { CachedDecoder, Prompt } from './decoder.js';
import {
  checkSampling,
  createProcessors,
  endsInLoop,
  type LogitsProcessor,
  type PenaltyOptions,
  pickToken,
  type Sampling,
} from './processors.js';

export type FinishReason = 'stop' | 'length' | 'repetition' | 'aborted';

export interface GenerateOptions extends PenaltyOptions {
  /** Default: 512, or what the positions leave. */
  readonly maxNewTokens?: number;
  /** Greedy when left out. */
  readonly sampling?: Sampling & { readonly seed?: number };
  readonly beams?: {
    readonly count: number;
    readonly lengthPenalty?: number;
    readonly earlyStopping?: boolean;
    readonly returned?: number;
  };
  /** The id that ends a row; null: none does. Default: the model's. */
  readonly eosId?: number | null;
  /** End a row that has fallen into a loop, with finishReason 'repetition'. */
  readonly stopLoops?: boolean;
  /** Keep the log probability of each token that is taken, before penalties and sampling. Not with beams. */
  readonly keepLogProbabilities?: boolean;
  /** Called with each new token of each row; returning true ends that row as 'stop'. */
  readonly onToken?: (row: number, token: number) => boolean | undefined;
  readonly signal?: AbortSignal;
}

/** What one row became: the new tokens (the end token included) and why it ended. */
export interface GeneratedRow {
  readonly tokens: readonly number[];
  readonly finishReason: FinishReason;
  /** One per token where they were asked for. */
  readonly logProbabilities?: readonly number[];
  /** Of beams: Σ log p / length^lengthPenalty. */
  readonly score?: number;
  /** Which prompt it continues. */
  readonly prompt: number;
}

interface Row {
  readonly prompt: number;
  readonly history: number[];
  readonly tokens: number[];
  readonly logProbabilities?: number[];
  finishReason?: FinishReason;
}

/**
 * Continues prompts together. `histories` is what penalties see of each prompt (padding included, as the reference has it).
 * Returns one row per prompt, or `beams.returned` per prompt, best first.
 */
export async function generate(
  decoder: CachedDecoder,
  prompts: readonly Prompt[],
  eosId: number,
  options: GenerateOptions = {},
  histories: readonly (readonly number[])[] = prompts.map(({ ids }) => ids),
): Promise<GeneratedRow[]> {
  const eos = options.eosId === undefined ? eosId : options.eosId;
  const { maxNewTokens = 512, sampling = {} } = options;
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new InputError(`maxNewTokens: expected a whole number above 0, got ${maxNewTokens}`);
  }
  checkSampling(sampling);
  const process = createProcessors(options);
  if (options.beams) {
    const rows: GeneratedRow[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const limit = Math.min(maxNewTokens, decoder.maxPositions - prompt.ids.length);
      const found = await beamSearch(decoder, prompt, histories[i], eos, limit, process, {
        ...options.beams,
        ...options,
      });
      rows.push(...found.map((row) => ({ ...row, prompt: i })));
    }
    return rows;
  }
  const rows: Row[] = prompts.map((_, i) => ({
    prompt: i,
    history: [...histories[i]],
    tokens: [],
    ...(options.keepLogProbabilities && { logProbabilities: [] }),
  }));
  await decodeRows(decoder, prompts, rows, eos, maxNewTokens, process, options);
  return rows.map(({ history: _, finishReason = 'length', ...row }) => ({ ...row, finishReason }));
}

async function decodeRows(
  decoder: CachedDecoder,
  prompts: readonly Prompt[],
  rows: readonly Row[],
  eos: number | null,
  maxNewTokens: number,
  process: LogitsProcessor,
  options: GenerateOptions,
): Promise<void> {
  const { sampling = {}, signal } = options;
  const rngs = rows.map((_, i) => createRng(sampling.seed ?? 0, i));
  const take = (row: Row, i: number, logits: Float32Array) => {
    if (row.finishReason) return;
    // Penalties change logits in place: what the model itself thought is worked out before.
    const logs = row.logProbabilities && logSoftmax(logits);
    process(logits, row.history);
    const token = pickToken(logits, sampling, rngs[i]);
    if (logs) row.logProbabilities?.push(logs[token]);
    row.tokens.push(token);
    row.history.push(token);
    const stopped = options.onToken?.(i, token) === true;
    if (token === eos || stopped) row.finishReason = 'stop';
    else if (options.stopLoops && endsInLoop(row.tokens)) row.finishReason = 'repetition';
    else if (row.tokens.length >= maxNewTokens) row.finishReason = 'length';
    else if (prompts[row.prompt].ids.length + row.tokens.length >= decoder.maxPositions) row.finishReason = 'length';
  };
  try {
    const started = await decoder.start(
      prompts,
      rows.map((_, i) => i),
      signal,
    );
    try {
      let { logits } = started;
      rows.forEach((row, i) => void take(row, i, logits[i]));
      while (rows.some((row) => !row.finishReason)) {
        const tokens = rows.map((row) => (row.finishReason ? null : row.tokens[row.tokens.length - 1]));
        logits = await started.batch.step(tokens, signal);
        rows.forEach((row, i) => void take(row, i, logits[i]));
      }
    } finally {
      started.batch.dispose();
    }
  } catch (error) {
    if (!(error instanceof AbortedError)) throw error;
    for (const row of rows) row.finishReason ??= 'aborted';
  }
}
