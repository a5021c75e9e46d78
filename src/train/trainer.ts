import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import { cutGraph } from '../grad/cut.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type AdamWOptions, createAdamW, defaultAdamW } from './adamw.js';
import { type Arenas, allocateArenas, type GroupOptions, initialise, layOut, viewSlot } from './arena.js';
import { createCompilations } from './compilations.js';
import { createJointSteps, holdLimits } from './joint.js';
import type { JointTask } from './joint-task.js';
import type { Peers } from './peers.js';
import { checkSchedule, learningRateFactor, type Schedule } from './schedule.js';
import { addSlots, type Ground, type Steps } from './steps.js';
import type { Task, Work } from './task.js';

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

/** One compiled graph, forward and backward, bound to the arenas. */
interface Compiled {
  /** Returns the loss; gradients go into the arena's slots, the slots of other parameters stay. */
  run(work: Work): Promise<number>;
  readonly parameters: readonly string[];
  dispose(): Promise<void>;
}

/** Steps whose loss is the sum of those of their parts. */
function createSumSteps<Batch>(task: Task<Batch>, { runtime, arenas, peers }: Ground): Steps<Batch> {
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
  const steps = 'join' in task ? createJointSteps(task, ground) : createSumSteps(task, ground);
  let stepsDone = 0;

  const accumulate = async (parts: readonly Batch[]): Promise<number> => {
    if (parts.length === 0) throw new InputError('training: a step needs at least one batch');
    return steps.accumulate(parts);
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
      if ('join' in task) holdLimits(arenas, task.limits);
      stepsDone++;
      return { step: stepsDone, loss, gradNorm, learningRate: rate };
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

async function compileWork(runtime: Runtime, work: Work, arenas: Arenas, gradients: Float32Array): Promise<Compiled> {
  const forward = work.graph();
  const trained = forward.parameters.map(({ name }) => name).filter((name) => isTrained(arenas, name));
  const { hostLoss } = work;
  const whole = differentiate(forward, {
    parameters: trained,
    ...(hostLoss && { output: hostLoss.output, seed: 'seed' }),
  });
  const bindings: Record<string, Tensor> = {};
  for (const { name } of forward.parameters) {
    const slot = arenas.layout.slots.get(name);
    if (!slot) throw new InputError(`training: the task did not declare the parameter ${name}`);
    bindings[name] = viewSlot(arenas.parameters, slot);
    if (trained.includes(name)) bindings[gradientName(name)] = viewSlot(gradients, slot);
  }
  const inputGraph = parametersAsInputs(whole);
  if (!hostLoss) {
    const session = await compile(runtime, inputGraph);
    return {
      parameters: trained,
      dispose: () => session.dispose(),
      run: async ({ feeds }) =>
        Number(
          (await session.run(feeds, { bound: bindings, outputs: ['loss', ...gradientNames(trained)] }))['loss'].data[0],
        ),
    };
  }
  return compileHostLoss(runtime, cutGraph(inputGraph, forward.nodes.length), bindings, trained);
}

const gradientNames = (parameters: readonly string[]) => parameters.map(gradientName);

async function compileHostLoss(
  runtime: Runtime,
  { first, second, crossing }: ReturnType<typeof cutGraph>,
  bindings: Readonly<Record<string, Tensor>>,
  trained: readonly string[],
): Promise<Compiled> {
  const bound: Record<string, Tensor> = { ...bindings };
  for (const { name, value } of crossing) {
    const shape = value.shape.map(Number);
    const data = runtime.allocate(
      value.dtype,
      shape.reduce((a, b) => a * b, 1),
    );
    bound[name] = { dtype: value.dtype, shape, data };
  }
  const only = (graph: Graph) => {
    const names = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
    return Object.fromEntries(Object.entries(bound).filter(([name]) => names.has(name)));
  };
  const [before, after] = [only(first), only(second)];
  const sessions: Session[] = [];
  for (const graph of [first, second]) sessions.push(await compile(runtime, graph));
  return {
    parameters: trained,
    dispose: async () => {
      for (const session of sessions) await session.dispose();
    },
    run: async ({ feeds, hostLoss }) => {
      if (!hostLoss) throw new InputError('training: works with one key must agree on where the loss is worked out');
      const outputs = first.outputs.map(({ name }) => name);
      const results = await sessions[0].run(pick(feeds, first.inputs, before), { bound: before, outputs });
      const { loss, gradient } = hostLoss.evaluate(results[hostLoss.output] ?? before[hostLoss.output]);
      await sessions[1].run(pick({ ...feeds, seed: gradient }, second.inputs, after), {
        bound: after,
        outputs: gradientNames(trained),
      });
      return loss;
    },
  };
}

function pick(feeds: Work['feeds'], inputs: readonly NamedValue[], bound: object): Record<string, Tensor> {
  const names = inputs.map(({ name }) => name).filter((name) => !(name in bound));
  return Object.fromEntries(names.map((name) => [name, feeds[name]]));
}

function isTrained({ layout }: Arenas, name: string): boolean {
  const slot = layout.slots.get(name);
  return slot !== undefined && slot.offset < layout.trainableSize;
}

/** Weights come with every run: they change between runs. */
function parametersAsInputs(graph: Graph): Graph {
  return { ...graph, inputs: [...graph.inputs, ...graph.parameters], parameters: [] };
}

function compile(runtime: Runtime, graph: Graph): Promise<Session> {
  return runtime.compile(graph, { weights: () => undefined });
}
