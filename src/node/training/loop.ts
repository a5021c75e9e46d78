/** The loop that all runs share: steps, figures, evaluations, checkpoints, and every way to end. */
import type { JsonObject } from '../../core/json.js';
import type { Peers, StepResult } from '../../train/trainer.js';
import type { Evaluation } from './kind.js';
import type { MetricsLog } from './metrics-log.js';
import type { RunningTraining, RunStep } from './start-run.js';

export interface LoopOptions {
  readonly logEvery: number;
  readonly evaluateEvery: number;
  readonly saveEvery: number;
  /** Evaluations without a better figure after which the run ends. */
  readonly patience?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Of several processes rank 0 alone logs, evaluates and saves. */
  readonly peers?: Peers | undefined;
  readonly metrics?: MetricsLog | undefined;
  /** Called after every step, on every process. */
  readonly onStep?: (progress: Progress) => void;
  readonly onEvaluation?: (step: number, evaluation: Evaluation) => void;
  /** Samples that were left out, each once. */
  readonly onBad?: (problem: string) => void;
}

/** How a run goes. */
export interface Progress extends StepResult {
  readonly steps: number;
  /** The loss, smoothed over about fifty steps. */
  readonly smooth: number;
  /** Tokens or pictures learnt from a second, over all processes. */
  readonly perSecond: number;
  /** Seconds that the rest will take. */
  readonly secondsLeft: number;
}

export interface LoopResult {
  readonly ended: 'done' | 'early' | 'interrupted';
  /** The checkpoint that was saved at the end. */
  readonly saved: string | undefined;
}

/** Seconds between writings of the report. */
const reportEvery = 30;

/** What any process was told, all are told: they stop at the same step. */
async function agreed({ peers }: LoopOptions, mine: readonly boolean[]): Promise<boolean[]> {
  const flags = Float32Array.from(mine, Number);
  await peers?.sum(flags);
  return [...flags].map((flag) => flag > 0);
}

/** Steps a run to its end, or until it is interrupted or no longer improves. A failed step leaves the checkpoints alone. */
export async function loop(work: RunningTraining, options: LoopOptions): Promise<LoopResult> {
  const { evaluateEvery, saveEvery, patience, signal, peers, metrics } = options;
  const leads = (peers?.rank ?? 0) === 0;
  const meter = createMeter(work);
  const shown = new Set<string>();
  let reported = performance.now();
  let [saved, exhausted]: [string | undefined, boolean] = [
    undefined,
    patience !== undefined && work.watch.since >= patience,
  ];
  const writeReport = () => {
    reported = performance.now();
    metrics?.report();
  };
  for (;;) {
    const [interrupted, early] = await agreed(options, [signal?.aborted === true, exhausted]);
    const over = work.stepsDone >= work.steps;
    if (interrupted || early || over) {
      if (leads) {
        saved = await work.save();
        writeReport();
      }
      return { ended: over ? 'done' : early ? 'early' : 'interrupted', saved };
    }
    const result = await work.step();
    const progress = meter(result);
    for (const problem of result.bad.filter((each) => !shown.has(each))) {
      shown.add(problem);
      options.onBad?.(problem);
    }
    options.onStep?.(progress);
    if (!leads) continue;
    const last = result.step === work.steps;
    if (result.step % options.logEvery === 0 || last || result.bad.length > 0)
      metrics?.add(entryOf(result, progress, work));
    if (result.step % evaluateEvery === 0 || last) {
      const evaluation = await work.evaluate();
      if (evaluation) {
        metrics?.add({ step: result.step, ...evaluation.figures, samples: evaluation.samples, heldOut: true });
        options.onEvaluation?.(result.step, evaluation);
        exhausted = patience !== undefined && work.watch.since >= patience;
        writeReport();
      }
    }
    if (result.step % saveEvery === 0) saved = await work.save();
    if (performance.now() - reported > 1000 * reportEvery) writeReport();
  }
}

/** A line of metrics.jsonl. */
function entryOf(
  { step, loss, gradNorm, learningRate, bad }: RunStep,
  progress: Progress,
  work: RunningTraining,
): JsonObject {
  const { smooth, perSecond } = progress;
  const waited = work.waited / 1000;
  return {
    step,
    loss,
    gradNorm,
    learningRate,
    smooth,
    perSecond,
    waited,
    ...work.gauges(),
    ...(bad.length > 0 && { bad }),
  };
}

function createMeter(work: RunningTraining): (result: RunStep) => Progress {
  const [started, first] = [performance.now(), work.stepsDone];
  let [sum, weight, learnt] = [0, 0, 0];
  return (result) => {
    if (!result.skipped) [sum, weight] = [0.98 * sum + 0.02 * result.loss, 0.98 * weight + 0.02];
    learnt += result.count;
    const seconds = (performance.now() - started) / 1000;
    const secondsLeft = (seconds / (result.step - first)) * (work.steps - result.step);
    return { ...result, steps: work.steps, smooth: sum / weight, perSecond: learnt / seconds, secondsLeft };
  };
}
