import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import type { Runtime } from '../runtime/runtime.js';
import { type AdamWOptions, createAdamW, defaultAdamW } from './adamw.js';
import { type Arenas, allocateArenas, type GroupOptions, initialise, layOut } from './arena.js';
import { createCompiledWorks } from './compile-work.js';
import { checkRates, type DropoutRates, type DropoutSite, drawMask } from './dropout.js';
import { createJointSteps, holdLimits } from './joint.js';
import type { JointTask } from './joint-task.js';
import type { Peers } from './peers.js';
import { checkSchedule, learningRateFactor, type Schedule } from './schedule.js';
import { addSlots, type Ground, type StepLoss, type Steps } from './steps.js';
import type { Task } from './task.js';

export type { Peers } from './peers.js';

export interface TrainerOptions {
  readonly learningRate: number;
  readonly schedule: Schedule;
  /** Default 0. */
  readonly weightDecay?: number;
  readonly groups?: readonly GroupOptions[];
  readonly adamW?: Partial<AdamWOptions>;
  /** Gradients with a larger L2 norm are scaled to it; null: never. Default 1. */
  readonly maxGradNorm?: number | null;
  /** Of the starting values. Default 0. */
  readonly seed?: number;
  /** Default: none. */
  readonly dropout?: DropoutRates;
  /** Keep only what enters each block and work the rest out again: less memory, more time. Default false. */
  readonly activationCheckpointing?: boolean;
  /** The other processes of a run; default: there are none. */
  readonly peers?: Peers;
}

export interface StepResult {
  /** Counted from 1. */
  readonly step: number;
  readonly loss: number;
  /** Before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** What the loss is the mean of, over all processes: labels, or target tokens. */
  readonly count: number;
}

/** Loss or gradients are not numbers any more; the parameters are as they were before the step. */
export class NotFiniteError extends InputError {
  override name = 'NotFiniteError';
}

export interface Trainer<Batch> {
  readonly arenas: Arenas;
  /** Steps done. */
  readonly stepsDone: number;
  /** Takes the count of steps done from a checkpoint; parameters and moments are in the arenas. */
  resumeAt(step: number): void;
  /** One update from the gradients of all parts together. Throws NotFiniteError where loss or gradients are not finite: nothing is changed then. */
  step(parts: readonly Batch[]): Promise<StepResult>;
  /** Counts a step that changes nothing. */
  skip(): void;
  /** The loss and gradients of `parts`, without an update: the gradients are in the arena. */
  accumulate(parts: readonly Batch[]): Promise<number>;
  dispose(): Promise<void>;
}

/** Sets the random numbers of dropout apart from those of starting values and data. */
const maskStream = 0xd509;

interface SumOptions extends Ground {
  readonly dropout: DropoutRates;
  readonly activationCheckpointing: boolean;
  readonly seed: number;
}

/** Steps whose loss is the sum of those of their parts. */
function createSumSteps<Batch>(task: Task<Batch>, options: SumOptions): Steps<Batch> {
  const { runtime, arenas, peers, seed, dropout, activationCheckpointing } = options;
  const compiled = createCompiledWorks(runtime, { arenas, dropout, activationCheckpointing });
  /** Gradients of the second part on, before they are added. */
  let scratch: Float32Array | undefined;
  /** Masks of a part of a step: a function of seed, step and the part's place among those of all processes. */
  const drawer = (part: number, step: number) => {
    const place = part * (peers?.size ?? 1) + (peers?.rank ?? 0);
    return (site: DropoutSite, i: number) => drawMask(site, createRng(seed, maskStream, step, place, i));
  };
  return {
    dispose: compiled.dispose,
    accumulate: async (parts, step) => {
      const count = parts.reduce((sum, part) => sum + task.count(part), 0);
      const totals = Float64Array.of(count, 0);
      if (peers) await peers.sum(totals);
      if (!(totals[0] > 0)) throw new InputError('training: a step has no labels to learn from');
      arenas.gradients.fill(0);
      for (const [i, part] of parts.entries()) {
        const work = task.prepare(part, totals[0]);
        if (i > 0) scratch ??= runtime.allocate('float32', arenas.layout.trainableSize);
        const into = scratch && i > 0 ? scratch : arenas.gradients;
        const graph = await compiled.get(work, into);
        totals[1] += await graph.run(work, drawer(i, step));
        if (i > 0) addSlots(arenas, into, graph.parameters);
      }
      if (peers) {
        await peers.sum(arenas.gradients);
        await peers.sum(totals.subarray(1));
      }
      return { loss: totals[1], count: totals[0] };
    },
  };
}

function stepsOf<Batch>(task: Task<Batch> | JointTask<Batch>, options: SumOptions): Steps<Batch> {
  if (!('join' in task)) return createSumSteps(task, options);
  const { dropout, activationCheckpointing } = options;
  if (dropout.hidden > 0 || dropout.attention > 0 || activationCheckpointing) {
    throw new InputError(
      'training: dropout and activation checkpointing are not for a loss over all rows together; use chunks to save memory',
    );
  }
  return createJointSteps(task, options);
}

/** Trains what `task` describes. Parameters start as declared; write others into the arenas before the first step. */
export async function createTrainer<Batch>(
  runtime: Runtime,
  task: Task<Batch> | JointTask<Batch>,
  options: TrainerOptions,
): Promise<Trainer<Batch>> {
  const { learningRate, schedule, weightDecay = 0, groups = [], maxGradNorm = 1, seed = 0, peers } = options;
  const { dropout = { hidden: 0, attention: 0 }, activationCheckpointing = false } = options;
  checkSchedule(schedule, 'training schedule');
  checkRates(dropout);
  const arenas = allocateArenas(runtime, layOut(task.parameters, groups, weightDecay));
  initialise(arenas, createRng(seed));
  const optimizer = await createAdamW(runtime, arenas, { ...defaultAdamW, ...options.adamW });
  const steps = stepsOf(task, { runtime, arenas, peers, seed, dropout, activationCheckpointing });
  let stepsDone = 0;

  const accumulate = (parts: readonly Batch[]): Promise<StepLoss> => steps.accumulate(parts, stepsDone);

  return {
    arenas,
    get stepsDone() {
      return stepsDone;
    },
    resumeAt: (step) => {
      stepsDone = step;
    },
    skip: () => {
      stepsDone++;
    },
    accumulate: async (parts) => (await accumulate(parts)).loss,
    step: async (parts) => {
      const { loss, count } = await accumulate(parts);
      const gradNorm = norm(arenas.gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
        throw new NotFiniteError(
          `training: step ${stepsDone + 1} has loss ${loss} and gradient norm ${gradNorm}; stopped before it`,
        );
      }
      const clip = maxGradNorm === null ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6));
      const rate = learningRate * learningRateFactor(schedule, stepsDone);
      await optimizer.update(stepsDone + 1, rate, clip);
      if ('join' in task) holdLimits(arenas, task.limits);
      stepsDone++;
      return { step: stepsDone, loss, gradNorm, learningRate: rate, count };
    },
    dispose: async () => {
      await steps.dispose();
      await optimizer.dispose();
    },
  };
}

/** L2 norm, summed in double precision. */
function norm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}
