import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import type { Tensor } from '../core/tensor.js';
import type { Runtime } from '../runtime/runtime.js';
import { type AdamWOptions, createAdamW, defaultAdamW } from './adamw.js';
import { type Arenas, allocateArenas, type GroupOptions, initialise, layOut, viewSlot } from './arena.js';
import { type Compiled, type CompiledPiece, compilePiece, compileWork } from './compiled.js';
import type { Peers } from './peers.js';
import { checkSchedule, learningRateFactor, type Schedule } from './schedule.js';
import type { JointTask, Piece, Task, Work } from './task.js';

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
}

export interface Trainer<Batch> {
  readonly arenas: Arenas;
  /** Steps done. */
  readonly stepsDone: number;
  /** Takes the count of steps done from a checkpoint; parameters and moments are in the arenas. */
  resumeAt(step: number): void;
  /** One update from the gradients of all parts together. Throws InputError where loss or gradients are not finite: nothing is changed then. */
  step(parts: readonly Batch[]): Promise<StepResult>;
  /** The loss and gradients of `parts`, without an update: the gradients are in the arena. */
  accumulate(parts: readonly Batch[]): Promise<number>;
  dispose(): Promise<void>;
}

/** Graphs of different extents that stay compiled. */
const maxCompiled = 6;

/** Compiles when first needed, and keeps the last few. */
function createCompilations<T extends { dispose(): Promise<void> }>() {
  const kept = new Map<string, T>();
  return {
    get: async (key: string, compile: () => Promise<T>): Promise<T> => {
      const known = kept.get(key) ?? (await compile());
      kept.delete(key);
      kept.set(key, known);
      if (kept.size > maxCompiled) {
        const [oldest, { dispose }] = kept.entries().next().value as [string, T];
        kept.delete(oldest);
        await dispose();
      }
      return known;
    },
    dispose: async () => {
      for (const one of kept.values()) await one.dispose();
      kept.clear();
    },
  };
}

/** How the gradients of a step's parts come into the arena. */
interface Accumulator<Batch> {
  accumulate(parts: readonly Batch[]): Promise<number>;
  dispose(): Promise<void>;
}

interface Ground {
  readonly runtime: Runtime;
  readonly arenas: Arenas;
  readonly peers: Peers | undefined;
}

/** Parts whose losses add up. */
function accumulateSums<Batch>(task: Task<Batch>, { runtime, arenas, peers }: Ground): Accumulator<Batch> {
  const compiled = createCompilations<Compiled>();
  const compiledFor = (work: Work, into: Float32Array) =>
    compiled.get(`${work.key}${into === arenas.gradients ? '' : ' (scratch)'}`, () =>
      compileWork(runtime, work, arenas, into),
    );
  /** Gradients of the second part on, before they are added. */
  let scratch: Float32Array | undefined;
  return {
    dispose: compiled.dispose,
    accumulate: async (parts) => {
      const count = parts.reduce((sum, part) => sum + task.count(part), 0);
      const totals = Float64Array.of(count, 0);
      if (peers) await peers.sum(totals);
      if (!(totals[0] > 0)) throw new InputError('training: a step has no labels to learn from');
      arenas.gradients.fill(0);
      for (const [i, part] of parts.entries()) {
        const work = task.prepare(part, totals[0]);
        if (i > 0) scratch ??= runtime.allocate('float32', arenas.layout.trainableSize);
        const into = scratch && i > 0 ? scratch : arenas.gradients;
        const graph = await compiledFor(work, into);
        totals[1] += await graph.run(work);
        if (i > 0) addSlots(arenas, into, graph.parameters);
      }
      if (peers) {
        await peers.sum(arenas.gradients);
        await peers.sum(totals.subarray(1));
      }
      return totals[1];
    },
  };
}

/** Pieces that one loss is worked out of. */
function accumulateJointly<Batch>(task: JointTask<Batch>, { runtime, arenas, peers }: Ground): Accumulator<Batch> {
  const compiled = createCompilations<CompiledPiece>();
  let scratch: Float32Array | undefined;
  /** Pieces that are not alone with their key run forward again: what backward needs was overwritten. */
  const compiledFor = (piece: Piece, into: Float32Array) =>
    compiled.get(piece.key, () => compilePiece(runtime, piece, arenas, into));
  return {
    dispose: async () => {
      await compiled.dispose();
      await task.dispose();
    },
    accumulate: async (parts) => {
      const pieces = task.pieces(parts);
      scratch ??= runtime.allocate('float32', arenas.layout.trainableSize);
      arenas.gradients.fill(0);
      const outputs = [];
      const lastOf = new Map<string, number>();
      for (const [i, piece] of pieces.entries()) {
        const output = await (await compiledFor(piece, scratch)).forward(piece.feeds);
        outputs.push({ ...output, data: output.data.slice() });
        lastOf.set(piece.key, i);
      }
      const { loss, gradients, ownGradients } = await task.join(outputs, { parts, arenas, peers });
      // Backwards, so that the last piece of each key still has what it kept.
      for (const [i, piece] of [...pieces.entries()].reverse()) {
        const graph = await compiledFor(piece, scratch);
        if (graph.parameters.length === 0) continue;
        if (lastOf.get(piece.key) !== i) await graph.forward(piece.feeds);
        await graph.backward(piece.feeds, gradients[i]);
        addSlots(arenas, scratch, graph.parameters);
      }
      addOwn(arenas, ownGradients, 1 / (peers?.size ?? 1));
      const totals = Float64Array.of(loss);
      if (peers) {
        await peers.sum(arenas.gradients);
        await peers.sum(totals);
      }
      return totals[0];
    },
  };
}

/** Gradients of parameters that the loss itself has: every process has worked out the whole, and gives its share. */
function addOwn({ layout, gradients }: Arenas, own: Readonly<Record<string, Tensor>>, share: number): void {
  for (const [name, { data }] of Object.entries(own)) {
    const slot = layout.slots.get(name);
    if (!slot || slot.offset >= layout.trainableSize) continue;
    for (let i = 0; i < slot.length; i++) gradients[slot.offset + i] += share * Number(data[i]);
  }
}

/** Trains what `task` describes. Parameters start as declared; write others into the arenas before the first step. */
export async function createTrainer<Batch>(
  runtime: Runtime,
  task: Task<Batch> | JointTask<Batch>,
  options: TrainerOptions,
): Promise<Trainer<Batch>> {
  const { learningRate, schedule, weightDecay = 0, groups = [], maxGradNorm = 1, seed = 0, peers } = options;
  checkSchedule(schedule, 'training schedule');
  const arenas = allocateArenas(runtime, layOut(task.parameters, groups, weightDecay));
  initialise(arenas, createRng(seed));
  const optimizer = await createAdamW(runtime, arenas, { ...defaultAdamW, ...options.adamW });
  const ground = { runtime, arenas, peers };
  const accumulator = 'join' in task ? accumulateJointly(task, ground) : accumulateSums(task, ground);
  let stepsDone = 0;

  const accumulate = async (parts: readonly Batch[]): Promise<number> => {
    if (parts.length === 0) throw new InputError('training: a step needs at least one batch');
    return accumulator.accumulate(parts);
  };

  return {
    arenas,
    get stepsDone() {
      return stepsDone;
    },
    resumeAt: (step) => {
      stepsDone = step;
    },
    accumulate,
    step: async (parts) => {
      const loss = await accumulate(parts);
      const gradNorm = norm(arenas.gradients);
      if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
        throw new InputError(
          `training: step ${stepsDone + 1} has loss ${loss} and gradient norm ${gradNorm}; stopped before it`,
        );
      }
      const clip = maxGradNorm === null ? 1 : Math.min(1, maxGradNorm / (gradNorm + 1e-6));
      const rate = learningRate * learningRateFactor(schedule, stepsDone);
      await optimizer.update(stepsDone + 1, rate, clip);
      holdLimits(arenas, task.limits ?? {});
      stepsDone++;
      return { step: stepsDone, loss, gradNorm, learningRate: rate };
    },
    dispose: async () => {
      await accumulator.dispose();
      await optimizer.dispose();
    },
  };
}

function holdLimits({ layout, parameters }: Arenas, limits: Readonly<Record<string, number>>): void {
  for (const [name, most] of Object.entries(limits)) {
    const slot = layout.slots.get(name);
    if (!slot) continue;
    const { data } = viewSlot(parameters, slot);
    for (let i = 0; i < data.length; i++) data[i] = Math.min(data[i], most);
  }
}

/** L2 norm, summed in double precision. */
function norm(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

function addSlots({ layout, gradients }: Arenas, from: Float32Array, names: readonly string[]): void {
  for (const name of names) {
    const slot = layout.slots.get(name);
    if (!slot) continue;
    for (let i = slot.offset; i < slot.offset + slot.length; i++) gradients[i] += from[i];
  }
}
