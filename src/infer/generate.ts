import { AbortedError, InputError } from '../core/errors.js';
import { logSumExp } from '../core/logits.js';
import { createRng } from '../core/rng.js';
import { type BeamOptions, beamSearch } from './beam.js';
import { type CachedDecoder, type Prompt, roomAfter } from './decoder.js';
import { loopAtEnd } from './loops.js';
import {
  checkSampling,
  createProcessors,
  type PenaltyOptions,
  type PromptHistory,
  pickToken,
  type Sampling,
} from './processors.js';

/** 'blank': there was nothing to read, and no model was asked. */
export type FinishReason = 'stop' | 'length' | 'repetition' | 'blank' | 'aborted';

/** Ids each of which ends a row. */
export type EndIds = number | readonly number[] | null;

export interface GenerateOptions extends PenaltyOptions {
  /** Default: 512, or what the positions leave. */
  readonly maxNewTokens?: number;
  /** Greedy when left out. */
  readonly sampling?: Sampling & { readonly seed?: number };
  /** Not together with sampling, `stopLoops`, `keepLogProbabilities` or `onToken`. */
  readonly beams?: Omit<BeamOptions, 'signal'>;
  /** The id or ids that end a row; null: none does. Default: the model's. */
  readonly eosId?: EndIds;
  /** End a row that has fallen into a loop, with finishReason 'repetition'. */
  readonly stopLoops?: boolean;
  /** Keep the log probability of each token that is taken, before penalties and sampling. */
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

/** What decides how one row goes on. */
export interface RowOptions extends PenaltyOptions {
  /** Default: nothing ends a row. */
  readonly eosId?: EndIds;
  readonly maxNewTokens?: number;
  readonly sampling?: Sampling & { readonly seed?: number };
  readonly stopLoops?: boolean;
  readonly keepLogProbabilities?: boolean;
  readonly onToken?: (row: number, token: number) => boolean | undefined;
}

/** One row while it grows. */
export interface GrowingRow {
  readonly tokens: readonly number[];
  finishReason(): FinishReason | undefined;
  /** Ends it, unless it has ended. */
  finish(reason: FinishReason): void;
  /** Takes the next token by the logits after the last; they may be changed. Nothing once the row has ended. */
  take(logits: Float32Array): void;
  result(): Omit<GeneratedRow, 'prompt'>;
}

/** All of them as a list. Throws InputError for what is no id. */
function listEnds(eosId: EndIds): readonly number[] {
  const ends = typeof eosId === 'number' ? [eosId] : (eosId ?? []);
  if (Array.isArray(ends) && ends.every((id) => Number.isInteger(id) && id >= 0)) return ends;
  throw new InputError(`eosId: expected an id, a list of ids or null, got ${JSON.stringify(eosId)}`);
}

/** What beams do not know, by name. */
const notWithBeams = ['sampling', 'stopLoops', 'keepLogProbabilities', 'onToken'] as const;

/** Checks `options`; returns what makes rows of them. Throws InputError. */
export function rowsWith({
  eosId = null,
  maxNewTokens = 512,
  sampling = {},
  ...options
}: RowOptions): (index: number, prompt: PromptHistory, room: number) => GrowingRow {
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new InputError(`maxNewTokens: expected a whole number above 0, got ${maxNewTokens}`);
  }
  checkSampling(sampling);
  const ends = listEnds(eosId);
  const process = createProcessors(options, ends);
  return (index, { ids, padding }, room) => {
    const history = [...ids];
    const tokens: number[] = [];
    const logs: number[] | undefined = options.keepLogProbabilities ? [] : undefined;
    const rng = createRng(sampling.seed ?? 0, index);
    const limit = Math.min(maxNewTokens, room);
    let reason: FinishReason | undefined;
    return {
      tokens,
      finishReason: () => reason,
      finish: (why) => {
        reason ??= why;
      },
      take: (logits) => {
        if (reason) return;
        // Penalties change logits in place: what the model itself thought is kept.
        const own = logs && process ? logits.slice() : logits;
        process?.(logits, { ids: history, padding, generated: tokens.length });
        const token = pickToken(logits, sampling, rng);
        logs?.push(own[token] - logSumExp(own));
        tokens.push(token);
        history.push(token);
        const stopped = options.onToken?.(index, token) === true;
        if (stopped || ends.includes(token)) reason = 'stop';
        else if (options.stopLoops && loopAtEnd(tokens)) reason = 'repetition';
        else if (tokens.length >= limit) reason = 'length';
      },
      result: () => ({ tokens, finishReason: reason ?? 'length', ...(logs && { logProbabilities: logs }) }),
    };
  };
}

/**
 * Continues prompts together. `histories` is what penalties see of each prompt.
 * Returns one row per prompt, or `beams.returned` per prompt, best first.
 */
export async function generate(
  decoder: CachedDecoder,
  prompts: readonly Prompt[],
  modelEnds: EndIds,
  options: GenerateOptions = {},
  histories: readonly PromptHistory[] = prompts.map(({ ids }) => ({ ids, padding: 0 })),
): Promise<GeneratedRow[]> {
  const eosId = options.eosId === undefined ? modelEnds : options.eosId;
  const createRow = rowsWith({ ...options, eosId });
  if (options.beams) {
    const other = notWithBeams.find((name) => options[name]);
    if (other) throw new InputError(`beams: expected no ${other} beside them`);
    const rows: GeneratedRow[] = [];
    for (const [i, prompt] of prompts.entries()) {
      const limit = Math.min(options.maxNewTokens ?? 512, roomAfter(prompt.ids.length, decoder.maxPositions));
      const ends = listEnds(eosId);
      const found = await beamSearch(decoder, prompt, histories[i], ends, limit, createProcessors(options, ends), {
        ...options.beams,
        ...options,
      });
      rows.push(...found.map((row) => ({ ...row, prompt: i })));
    }
    return rows;
  }
  const rows = prompts.map(({ ids }, i) => createRow(i, histories[i], roomAfter(ids.length, decoder.maxPositions)));
  await decodeRows(decoder, prompts, rows, options.signal);
  return rows.map((row, prompt) => ({ ...row.result(), prompt }));
}

async function decodeRows(
  decoder: CachedDecoder,
  prompts: readonly Prompt[],
  rows: readonly GrowingRow[],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const started = await decoder.start(
      prompts,
      rows.map((_, i) => i),
      signal,
    );
    try {
      let { logits } = started;
      rows.forEach((row, i) => void row.take(logits[i]));
      while (rows.some((row) => !row.finishReason())) {
        const tokens = rows.map((row) => (row.finishReason() ? null : row.tokens[row.tokens.length - 1]));
        logits = await started.batch.step(tokens, signal);
        rows.forEach((row, i) => void row.take(logits[i]));
      }
    } finally {
      started.batch.dispose();
    }
  } catch (error) {
    if (!(error instanceof AbortedError)) throw error;
    for (const row of rows) row.finish('aborted');
  }
}
