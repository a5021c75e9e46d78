import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import type { Runtime } from '../runtime/runtime.js';
import { type AdamWOptions, createAdamW, defaultAdamW } from './adamw.js';
import { type Arenas, allocateArenas, type GroupOptions, initialise, layOut } from './arena.js';
import { defaultMaxCompiled } from './compilations.js';
import { checkRates, type DropoutRates } from './dropout.js';
import { createGradientNorm } from './gradient-norm.js';
import { createJointSteps } from './joint-steps.js';
import type { JointTask } from './joint-task.js';
import type { Peers } from './peers.js';
import { checkSchedule, learningRateFactor, type Schedule } from './schedule.js';
import { createSumSteps } from './sum-steps.js';
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
  /** Of the starting values, and of dropout. Default 0. */
  readonly seed?: number;
  /** Parameters whose values are written into the arenas before the first step: none is drawn for them. Default: none is. */
  readonly given?: (name: string) => boolean;
  /** Default: none. Joint tasks take none. */
  readonly dropout?: DropoutRates;
  /** Keep only what enters each block and work the rest out again: less memory, more time. Joint tasks cannot. Default false. */
  readonly activationCheckpointing?: boolean;
  /**
   * Graphs that stay compiled, one for each shape of batch: fewer take less memory, and are compiled again when their shape comes
   * back. Results are the same. Default 12.
   */
  readonly maxCompiled?: number;
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

/** Trains what `task` describes. Parameters start as declared; write others into the arenas before the first step. */
export async function createTrainer<Batch>(
  runtime: Runtime,
  task: Task<Batch> | JointTask<Batch>,
  options: TrainerOptions,
): Promise<Trainer<Batch>> {
  const {
    learningRate,
    schedule,
    given = () => false,
    weightDecay = 0,
    groups = [],
    maxGradNorm = 1,
    seed = 0,
    peers,
  } = options;
  const {
    dropout = { hidden: 0, attention: 0 },
    activationCheckpointing = false,
    maxCompiled = defaultMaxCompiled,
  } = options;
  checkSchedule(schedule, 'training schedule');
  checkSteps(task, options);
  if (!Number.isInteger(maxCompiled) || maxCompiled < 1) {
    throw new InputError(`training: maxCompiled: expected a whole number from 1, got ${maxCompiled}`);
  }
  const arenas = allocateArenas(runtime, layOut(task.parameters, groups, weightDecay));
  initialise(arenas, createRng(seed), given);
  const optimizer = await createAdamW(runtime, arenas, { ...defaultAdamW, ...options.adamW });
  const norm = await createGradientNorm(runtime, arenas, peers);
  const ground = { runtime, arenas, peers, maxCompiled };
  const steps =
    'join' in task
      ? createJointSteps(task, ground)
      : createSumSteps(task, ground, { dropout, activationCheckpointing, seed });
  let stepsDone = 0;

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
    accumulate: async (parts) => (await steps.accumulate(parts, stepsDone)).loss,
    step: async (parts) => {
      const { loss, count } = await steps.accumulate(parts, stepsDone);
      const gradNorm = await norm.measure();
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
        throw new NotFiniteError(
          `training: step ${stepsDone + 1} has loss ${loss} and gradient norm ${gradNorm}; stopped before it`,
        );
      }
      const clip = maxGradNorm === null ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6));
      const rate = learningRate * learningRateFactor(schedule, stepsDone);
      await optimizer.update(stepsDone + 1, rate, clip);
      steps.settle?.();
      stepsDone++;
      return { step: stepsDone, loss, gradNorm, learningRate: rate, count };
    },
    dispose: async () => {
      await steps.dispose();
      await optimizer.dispose();
      await norm.dispose();
    },
  };
}

/** Throws InputError where a task's steps cannot do what the options ask. */
function checkSteps<Batch>(task: Task<Batch> | JointTask<Batch>, { dropout, ...options }: TrainerOptions): void {
  if (dropout) checkRates(dropout);
  if (!('join' in task)) return;
  if (dropout && (dropout.hidden > 0 || dropout.attention > 0)) {
    throw new InputError(
      'training: dropout is for losses that are sums; a joint loss runs its pieces twice: leave it out',
    );
  }
  if (options.activationCheckpointing) {
    throw new InputError(
      'training: activationCheckpointing is for losses that are sums; a joint loss takes less memory with a smaller chunkSize',
    );
  }
}
