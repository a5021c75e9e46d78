/** Beam search as transformers 5 does it (generation/utils.py, `_beam_search`), one prompt at a time. */
import { InputError } from '../core/errors.js';
import { logSumExp } from '../core/logits.js';
import type { CachedDecoder, Prompt } from './decoder.js';
import type { LogitsProcessor, PromptHistory } from './processors.js';

export interface BeamOptions {
  readonly count: number;
  /** Scores are divided by (generated tokens, end token included) to this power. Default 1. */
  readonly lengthPenalty?: number;
  /**
   * Stop as soon as `count` hypotheses have ended. Default false: when no running beam would win if it ended here; 'never': when
   * none can win at any length (which differs for a `lengthPenalty` above 0). One beam is greedy: it stops when it ends.
   */
  readonly earlyStopping?: boolean | 'never';
  /**
   * Hypotheses returned per prompt. Default 1. Where there are not so many ways to go on, the last of them are repeats or cut short, with a score
   * near -1e9 or less.
   */
  readonly returned?: number;
  readonly signal?: AbortSignal;
}

interface Beam {
  readonly tokens: readonly number[];
  /** Σ log p. */
  readonly logProbability: number;
}
interface Hypothesis extends Beam {
  readonly score: number;
  readonly ended: boolean;
}
interface Candidate {
  readonly beam: number;
  readonly token: number;
  readonly logProbability: number;
}

/** The log probability of beams that only fill up. */
const nothing = -1e9;

export interface BeamResult {
  readonly tokens: readonly number[];
  readonly score: number;
  readonly finishReason: 'stop' | 'length';
}

/** The best hypotheses for one prompt, best first. */
export async function beamSearch(
  decoder: CachedDecoder,
  prompt: Prompt,
  history: PromptHistory,
  eos: readonly number[],
  maxNewTokens: number,
  process: LogitsProcessor | undefined,
  { count, lengthPenalty = 1, earlyStopping = false, returned = 1, signal }: BeamOptions,
): Promise<BeamResult[]> {
  if (!Number.isInteger(count) || count < 1)
    throw new InputError(`beams.count: expected a whole number above 0, got ${count}`);
  if (!Number.isFinite(lengthPenalty))
    throw new InputError(`beams.lengthPenalty: expected a number, got ${lengthPenalty}`);
  if (!Number.isInteger(returned) || returned < 1)
    throw new InputError(`beams.returned: expected a whole number above 0, got ${returned}`);
  if (returned > count) throw new InputError(`beams.returned: at most ${count} beams can be returned, got ${returned}`);
  const { batch, logits: first } = await decoder.start([prompt], Array(count).fill(0), signal);
  // All beams begin equal: only the first may grow at the first step.
  let running: Beam[] = Array.from({ length: count }, (_, i) => ({
    tokens: [],
    logProbability: i === 0 ? 0 : nothing,
  }));
  let finished: Hypothesis[] = [];
  let logits = first;
  // So many that `count` are left to go on with, even if every beam's best are ends.
  const wanted = Math.max(2, 1 + eos.length) * count;
  try {
    for (let length = 1; ; length++) {
      const best = bestCandidates(logits, running, history, process, wanted);
      const last = length >= maxNewTokens;
      const ends = ({ token }: Candidate) => last || eos.includes(token);
      const full = finished.length >= count && earlyStopping === true;
      const arrived = best
        .slice(0, count)
        .filter((candidate) => ends(candidate) && !full)
        .map((candidate) => hypothesis(running, candidate, length, lengthPenalty, eos.includes(candidate.token)));
      finished = [...finished, ...arrived].sort((a, b) => b.score - a.score).slice(0, count);
      const going = best.filter((candidate) => !ends(candidate)).slice(0, count);
      if (going.length === 0) break;
      const parents = Array.from({ length: count }, (_, i) => going[Math.min(i, going.length - 1)]);
      // One that goes on twice would be found twice.
      running = parents.map((candidate, i) => ({
        ...extend(running, candidate),
        ...(i >= going.length && { logProbability: nothing }),
      }));
      const worst = finished.length < count ? nothing : finished[finished.length - 1].score;
      const end = earlyStopping === 'never' && lengthPenalty > 0 && count > 1 ? maxNewTokens : length;
      const possible = running[0].logProbability / end ** lengthPenalty;
      if (!(possible > worst) || (finished.length >= count && earlyStopping === true)) break;
      batch.reorder(parents.map(({ beam }) => beam));
      logits = await batch.step(
        parents.map(({ token }) => token),
        signal,
      );
    }
  } finally {
    batch.dispose();
  }
  // Where too few have ended, as when nothing more may follow, those that were going on.
  const left = running.map((beam) => ({
    ...beam,
    score: beam.logProbability / Math.max(1, beam.tokens.length) ** lengthPenalty,
    ended: false,
  }));
  return [...finished, ...left]
    .slice(0, returned)
    .map(({ tokens, score, ended }) => ({ tokens, score, finishReason: ended ? 'stop' : 'length' }));
}

const extend = (running: readonly Beam[], { beam, token, logProbability }: Candidate): Beam => ({
  tokens: [...running[beam].tokens, token],
  logProbability,
});

function hypothesis(
  running: readonly Beam[],
  candidate: Candidate,
  length: number,
  lengthPenalty: number,
  ended: boolean,
): Hypothesis {
  return { ...extend(running, candidate), score: candidate.logProbability / length ** lengthPenalty, ended };
}

/**
 * The best continuations of all beams. Processors see log-probabilities, as the reference has it; of one beam, which is greedy search
 * there, they see logits.
 */
function bestCandidates(
  logits: readonly Float32Array[],
  running: readonly Beam[],
  history: PromptHistory,
  process: LogitsProcessor | undefined,
  wanted: number,
): Candidate[] {
  const best: Candidate[] = [];
  running.forEach(({ tokens, logProbability }, beam) => {
    const scores = logits[beam].slice();
    const row = { ...history, ids: [...history.ids, ...tokens], generated: tokens.length };
    if (running.length === 1) process?.(scores, row);
    const shift = logSumExp(scores);
    for (let token = 0; token < scores.length; token++) scores[token] -= shift;
    if (running.length > 1) process?.(scores, row);
    for (let token = 0; token < scores.length; token++) {
      const total = logProbability + scores[token];
      if (!(total > Number.NEGATIVE_INFINITY)) continue;
      if (best.length === wanted && total <= best[wanted - 1].logProbability) continue;
      let at = best.length;
      while (at > 0 && best[at - 1].logProbability < total) at--;
      best.splice(at, 0, { beam, token, logProbability: total });
      if (best.length > wanted) best.pop();
    }
  });
  return best;
}
