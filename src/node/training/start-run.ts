/** Opens everything a run needs, whatever its kind. */
import { availableParallelism } from 'node:os';
import { InputError } from '../../core/errors.js';
import { indexField, isObject, type JsonObject } from '../../core/json.js';
import type { Runtime } from '../../runtime/runtime.js';
import { checkSchedule, type Schedule } from '../../train/schedule.js';
import {
  createTrainer,
  NotFiniteError,
  type Peers,
  type StepResult,
  type Trainer,
  type TrainerOptions,
} from '../../train/trainer.js';
import { createRuntime } from '../ort/runtime.js';
import { contrastiveKind } from './contrastive-kind.js';
import { conversationKind } from './conversation-kind.js';
import type { Evaluation, Kind, Part, Place } from './kind.js';
import { ctcKind, readingKind } from './line-kinds.js';
import type { Run } from './run-file.js';
import { type RunState, resumeRun, saveRun } from './save.js';
import { loadStart } from './start-weights.js';
import { openVaryStart } from './vary-start.js';

export interface StartOptions {
  /** A checkpoint of the same run. */
  readonly resume: string | undefined;
  readonly threads?: number;
  /** The processes that train together; each takes its own batches. */
  readonly peers?: Peers | undefined;
}

/** What one step brought. */
export interface RunStep extends StepResult {
  /** No process had a sample: nothing was changed. */
  readonly skipped?: boolean;
  /** Samples of this process that were left out, and why. */
  readonly bad: readonly string[];
}

/** Held-out figures so far, for an early stop; saved with the run. */
export interface Watch {
  readonly best: number | null;
  /** Evaluations since. */
  readonly since: number;
}

/** A run that is under way. */
export interface RunningTraining {
  readonly steps: number;
  readonly stepsDone: number;
  /** Milliseconds spent waiting for data. */
  readonly waited: number;
  readonly watch: Watch;
  /** What steps count. */
  readonly unit: Kind<unknown>['unit'];
  /** What a line of metrics says of the parameters. */
  gauges(): JsonObject;
  /** In words, for a dry run. */
  readonly summary: readonly string[];
  /** Throws NotFiniteError naming the batch where loss or gradients are not finite: nothing is changed then. */
  step(): Promise<RunStep>;
  /** Undefined where there is no held-out data. */
  evaluate(): Promise<Evaluation | undefined>;
  /** Returns the checkpoint's path. */
  save(): Promise<string>;
  dispose(): Promise<void>;
}

/** Starts a run, or goes on with the checkpoint `resume`. Throws InputError saying what does not fit. */
export async function startRun(
  run: Run,
  { resume, threads = availableParallelism(), peers }: StartOptions,
): Promise<RunningTraining> {
  const runtime = createRuntime({ threads });
  const place = peers ?? { rank: 0, size: 1 };
  const going = { runtime, resume, peers };
  if (run.task === 'contrastive') return startKind(run, await contrastiveKind(run, runtime, place), going);
  const start = openVaryStart(run, runtime);
  if (run.task === 'conversations') return startKind(run, await conversationKind(run, start, place), going);
  return run.task === 'ctc'
    ? startKind(run, ctcKind(run, start, place), going)
    : startKind(run, readingKind(run, start, place), going);
}

function optionsOf(
  run: Run,
  { steps, trainerOptions }: Pick<Kind<unknown>, 'steps' | 'trainerOptions'>,
): TrainerOptions {
  const schedule: Schedule = {
    kind: run.schedule,
    warmupSteps: run.warmupSteps ?? Math.min(200, steps),
    totalSteps: steps,
  };
  checkSchedule(schedule, 'schedule');
  return {
    learningRate: run.learningRate,
    schedule,
    weightDecay: run.weightDecay,
    maxGradNorm: run.maxGradNorm,
    adamW: { beta1: run.beta1, beta2: run.beta2, epsilon: 1e-8 },
    seed: run.seed,
    maxCompiled: run.maxCompiled,
    ...trainerOptions,
    groups: [
      ...run.groups.map(({ match, ...group }) => ({ ...group, match: new RegExp(match) })),
      ...(trainerOptions.groups ?? []),
    ],
  };
}

/** What a checkpoint must have been trained with to go on. Settings that came later are left out where they are as before. */
function settingsOf(
  run: Run,
  kind: Pick<Kind<unknown>, 'steps' | 'settings'>,
  options: TrainerOptions,
  size: number,
): JsonObject {
  const { learningRate, schedule, weightDecay, maxGradNorm, adamW } = options;
  const optimizer = { learningRate, schedule, weightDecay, maxGradNorm, adamW };
  return {
    task: run.task,
    seed: run.seed,
    steps: kind.steps,
    batchSize: run.batchSize,
    ...kind.settings,
    optimizer,
    processes: size,
    ...(run.accumulate > 1 && { accumulate: run.accumulate }),
    ...(run.groups.length > 0 && { groups: run.groups }),
  };
}

async function startKind<Batch>(
  run: Run,
  kind: Kind<Batch>,
  { runtime, resume, peers }: Omit<StartOptions, 'threads'> & { readonly runtime: Runtime },
): Promise<RunningTraining> {
  const { rank, size }: Place = peers ?? { rank: 0, size: 1 };
  const options = optionsOf(run, kind);
  // What the start or the checkpoint has need not be drawn first.
  const given = resume === undefined ? kind.isPublished : () => true;
  const trainer = await createTrainer(runtime, kind.task, { ...options, given, ...(peers && { peers }) });
  expectUsedGroups(run, trainer);
  let watch: Watch = { best: null, since: 0 };
  const state: RunState = {
    untouched: await loadStart(kind.start, trainer.arenas, kind.isPublished),
    isPublished: kind.isPublished,
    filesFrom: kind.start.dir,
    configChanges: kind.configChanges,
    settings: settingsOf(run, kind, options, size),
    notes: () => (run.earlyStop ? { watch } : {}),
  };
  if (resume !== undefined) watch = watchFrom(await resumeRun(resume, trainer, state)) ?? watch;
  const source = await kind.open(trainer.stepsDone * run.accumulate);
  const takeParts = async () => {
    const parts: Part<Batch>[] = [];
    for (let i = 0; i < run.accumulate; i++) parts.push(await source.next());
    return parts;
  };
  return {
    steps: kind.steps,
    get stepsDone() {
      return trainer.stepsDone;
    },
    get waited() {
      return source.waited;
    },
    get watch() {
      return watch;
    },
    summary: kind.summary,
    unit: kind.unit,
    gauges: () => kind.gauges?.(trainer.arenas) ?? {},
    step: async () => {
      const parts = await takeParts();
      const bad = parts.flatMap((part) => part.bad);
      const batches = parts.flatMap(({ batch }) => (batch === undefined ? [] : [batch]));
      const filled = Float64Array.of(batches.length);
      await peers?.sum(filled);
      if (filled[0] === 0) {
        trainer.skip();
        const step = trainer.stepsDone;
        return { step, loss: Number.NaN, gradNorm: 0, learningRate: 0, count: 0, skipped: true, bad };
      }
      return { ...(await stepNaming(trainer, batches, parts, rank)), bad };
    },
    evaluate: async () => {
      const report = await kind.evaluate?.(trainer.arenas);
      if (report && run.earlyStop) watch = watched(watch, report, run.earlyStop.minImprovement);
      return report;
    },
    save: () => saveRun(run.out, trainer, state, { keep: run.keep }),
    dispose: async () => {
      await source.dispose();
      await kind.dispose();
      await trainer.dispose();
    },
  };
}

/** A step whose failure names what it was made of. */
async function stepNaming<Batch>(
  trainer: Trainer<Batch>,
  batches: readonly Batch[],
  parts: readonly Part<Batch>[],
  rank: number,
): Promise<StepResult> {
  try {
    return await trainer.step(batches);
  } catch (cause) {
    if (!(cause instanceof NotFiniteError)) throw cause;
    const names = parts.flatMap((part) => part.names);
    throw new NotFiniteError(`${cause.message}; the batch of rank ${rank}: ${names.join(', ')}`, { cause });
  }
}

/** A group that no parameter belongs to is a mistake in its expression. */
function expectUsedGroups<Batch>(run: Run, { arenas }: Trainer<Batch>): void {
  const names = [...arenas.layout.slots.keys()];
  const expressions = run.groups.map(({ match }) => new RegExp(match));
  const owners = new Set(names.map((name) => expressions.findIndex((expression) => expression.test(name))));
  const unused = run.groups.findIndex((_, i) => !owners.has(i));
  if (unused < 0) return;
  throw new InputError(
    `groups[${unused}]: no parameter is left for ${run.groups[unused].match}; names are like ${names.slice(0, 3).join(', ')}`,
  );
}

function watched({ best, since }: Watch, { figures, better }: Evaluation, minImprovement: number): Watch {
  const [figure] = Object.values(figures);
  const gain = best === null ? Number.POSITIVE_INFINITY : better === 'lower' ? best - figure : figure - best;
  return gain > minImprovement ? { best: figure, since: 0 } : { best, since: since + 1 };
}

function watchFrom(progress: JsonObject): Watch | undefined {
  const saved = progress['watch'];
  if (!isObject(saved)) return undefined;
  const { best } = saved;
  return { best: typeof best === 'number' ? best : null, since: indexField(saved, 'since', 'trainer.json: watch') };
}
