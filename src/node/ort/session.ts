import { bytesOf } from '../../core/dtype.js';
import { AbortedError, InputError, ShapeError } from '../../core/errors.js';
import type { Queue } from '../../core/queue.js';
import { sizeOf, type Tensor } from '../../core/tensor.js';
import type { Graph, NamedValue } from '../../graph/builder.js';
import { bindExtents, concreteType } from '../../runtime/bind-shapes.js';
import type { RunOptions, Session } from '../../runtime/runtime.js';
import { createPauses } from '../pauses.js';
import { loadOrt, type Pointer } from './library.js';
import {
  type BoundTensor,
  bindTensor,
  copyBytes,
  copyOf,
  createSpares,
  returnFreedMemory,
  type Spares,
} from './memory.js';
import { type BoundState, createState } from './state.js';

/** Everything bound for runs of one shape: inputs are copied into it, outputs are read from it. */
interface Plan {
  readonly binding: Pointer;
  readonly inputs: ReadonlyMap<string, BoundTensor>;
  readonly outputs: ReadonlyMap<string, BoundTensor>;
  release(): void;
}

/** Plans kept per session or state: a loop alternates between few shapes, one over lines between a dozen widths. */
const maxPlans = 12;

/** A compiled graph, which goes with the last session over it. */
export interface NativeSession {
  readonly graph: Graph;
  readonly native: Pointer;
  readonly releaseAfterRun: boolean;
  /** What the runs of one session over it wait in: their own, or one with those of others that must not overlap. */
  readonly queue: () => Queue;
  /** Called by the last session over it. */
  readonly release: () => void;
  /** How many sessions are over it. */
  users: number;
}

/** Another session over a native one. */
export function openSession(shared: NativeSession): Session {
  const { graph, native, releaseAfterRun } = shared;
  const queue = shared.queue();
  shared.users++;
  const ownPlans = new Map<string, Plan>();
  const statePlans = new WeakMap<BoundState, Map<string, Plan>>();
  const states = new Set<BoundState>();
  const boundPlans = new Map<object, Map<string, Plan>>();
  const spares = createSpares();
  let disposed = false;

  const plansOf = (state: BoundState | undefined): Map<string, Plan> => {
    if (!state) return ownPlans;
    const known = statePlans.get(state);
    if (known) return known;
    const plans = new Map<string, Plan>();
    statePlans.set(state, plans);
    state.onDispose(() => {
      for (const plan of plans.values()) plan.release();
      plans.clear();
    });
    return plans;
  };

  const plansBoundTo = (bound: object): Map<string, Plan> => {
    const known = boundPlans.get(bound) ?? new Map<string, Plan>();
    boundPlans.set(bound, known);
    return known;
  };

  const runNow = async (feeds: Readonly<Record<string, Tensor>>, options: RunOptions) => {
    if (disposed) throw new InputError(`${graph.name}: this session was disposed`);
    throwIfAborted(options.signal);
    const state = options.state as BoundState | undefined;
    const { bound } = options;
    if (bound && state) throw new InputError(`${graph.name}: a run has either a state or bound tensors`);
    const plans = bound ? plansBoundTo(bound) : plansOf(state);
    const wanted = options.outputs ?? freeOutputs(graph);
    const key = planKey(graph, feeds, wanted);
    const own = Object.entries(feeds).find(([name]) => bound && name in bound);
    if (own) throw new InputError(`${graph.name}: ${own[0]} is bound, it cannot be fed`);
    const plan =
      plans.get(key) ??
      createPlan({ graph, native, spares }, bound ? { ...bound, ...feeds } : feeds, wanted, { state, bound });
    keepRecent(plans, key, plan);
    for (const [name, own] of plan.inputs) expectFilled(`${graph.name}: input ${name}`, own, feeds[name]);
    return runPlan(native, plan, feeds, { signal: options.signal, releaseAfterRun, lend: options.lend ?? false });
  };

  return {
    graph,
    run: (feeds, options = {}) => queue(() => runNow(feeds, options)),
    createState: (extents) =>
      createState(graph, extents, (state) => {
        states.add(state);
        state.onDispose(() => states.delete(state));
      }),
    fork: () => {
      if (disposed) throw new InputError(`${graph.name}: this session was disposed`);
      return openSession(shared);
    },
    dispose: () =>
      queue(async () => {
        if (disposed) return;
        disposed = true;
        for (const state of states) state.dispose();
        for (const plans of [ownPlans, ...boundPlans.values()]) {
          for (const plan of plans.values()) plan.release();
          plans.clear();
        }
        if (--shared.users === 0) shared.release();
      }),
  };
}

/** A plan is found by shapes: a feed's dtype may be another than the first one's, and its data need not fit its shape. */
function expectFilled(where: string, own: BoundTensor, { dtype, shape, data }: Tensor): void {
  if (dtype !== own.dtype) throw new ShapeError(`${where}: expected ${own.dtype}, got ${dtype}`);
  if (data.byteLength === own.data.byteLength) return;
  const [bytes, got] = [own.data.byteLength, data.byteLength];
  throw new ShapeError(`${where}: ${dtype}[${shape}]: expected ${bytes} bytes of data, got ${got}`);
}

function freeOutputs(graph: Graph): readonly string[] {
  const carried = new Set(graph.states.map((state) => state.output));
  return graph.outputs.map(({ name }) => name).filter((name) => !carried.has(name));
}

function planKey(graph: Graph, feeds: Readonly<Record<string, Tensor>>, wanted: readonly string[]): string {
  const shapes = graph.inputs.map(({ name }) => feeds[name]?.shape.join(',') ?? '-');
  return `${shapes.join(';')}>${wanted.join(';')}`;
}

function keepRecent(plans: Map<string, Plan>, key: string, plan: Plan): void {
  plans.delete(key);
  plans.set(key, plan);
  if (plans.size <= maxPlans) return;
  const [oldest, old] = plans.entries().next().value as [string, Plan];
  plans.delete(oldest);
  old.release();
}

function createPlan(
  { graph, native, spares }: Pick<NativeSession, 'graph' | 'native'> & { readonly spares: Spares },
  feeds: Readonly<Record<string, Tensor>>,
  wanted: readonly string[],
  { state, bound = {} }: { readonly state: BoundState | undefined; readonly bound: RunOptions['bound'] },
): Plan {
  const ort = loadOrt();
  const extents = bindExtents(graph, feeds, state?.extents);
  const lent: BoundTensor[] = [];
  const lend = (named: NamedValue): Pointer => {
    const type = concreteType(named, extents);
    const { dtype, shape, data } = bound[named.name];
    if (dtype !== type.dtype || String(shape) !== String(type.shape)) {
      throw new ShapeError(
        `${graph.name}: bound ${named.name}: expected ${type.dtype}[${type.shape}], got ${dtype}[${shape}]`,
      );
    }
    const tensor = bindTensor(type, data);
    lent.push(tensor);
    return tensor.value;
  };
  const carriedBy = new Map(graph.states.map(({ input, output }) => [output, input]));
  const binding = ort.create('CreateIoBinding', native);
  const [inputs, outputs] = [new Map<string, BoundTensor>(), new Map<string, BoundTensor>()];
  const carried = (name: string): BoundTensor => {
    const tensor = state?.tensors.get(name);
    if (!tensor) throw new InputError(`${graph.name}: a run needs a state for ${name}`);
    return tensor;
  };
  const release = () => {
    ort.call.ReleaseIoBinding(binding);
    for (const tensor of lent) tensor.release();
    for (const tensor of [...inputs.values(), ...outputs.values()]) {
      tensor.release();
      spares.give(tensor.data);
    }
  };
  const keep = (into: Map<string, BoundTensor>, named: NamedValue): Pointer => {
    const type = concreteType(named, extents);
    const tensor = bindTensor(type, spares.take(type.dtype, sizeOf(type.shape)));
    into.set(named.name, tensor);
    return tensor.value;
  };
  try {
    const stateInputs = new Set(carriedBy.values());
    for (const input of graph.inputs) {
      const { name } = input;
      if (name in bound) ort.call.BindInput(binding, name, lend(input));
      else if (stateInputs.has(name)) ort.call.BindInput(binding, name, carried(name).value);
      else ort.call.BindInput(binding, name, keep(inputs, input));
    }
    for (const output of graph.outputs) {
      const from = carriedBy.get(output.name);
      if (output.name in bound) ort.call.BindOutput(binding, output.name, lend(output));
      else if (from) ort.call.BindOutput(binding, output.name, carried(from).value);
      else if (wanted.includes(output.name)) ort.call.BindOutput(binding, output.name, keep(outputs, output));
    }
    const unknown = wanted.find((name) => !outputs.has(name) && !(name in bound));
    if (unknown)
      throw new InputError(`${graph.name}: no output ${unknown}; there are: ${freeOutputs(graph).join(', ')}`);
  } catch (error) {
    release();
    throw error;
  }
  return { binding, inputs, outputs, release };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('aborted by its signal', { cause: signal.reason });
}

interface StoppableOptions {
  readonly signal: AbortSignal | undefined;
  readonly releaseAfterRun: boolean;
}

interface PlanOptions extends StoppableOptions {
  readonly lend: boolean;
}

/** Copies feeds in and results out; others come in between, since pixels and features are megabytes. */
async function runPlan(
  native: Pointer,
  { binding, inputs, outputs }: Plan,
  feeds: Readonly<Record<string, Tensor>>,
  options: PlanOptions,
): Promise<Record<string, Tensor>> {
  const pause = createPauses();
  for (const [name, { data }] of inputs) await copyBytes(bytesOf(data), bytesOf(feeds[name].data), pause);
  // Nobody listened meanwhile.
  throwIfAborted(options.signal);
  await runStoppable(native, binding, options);
  const results: Record<string, Tensor> = {};
  for (const [name, output] of outputs) {
    const data = options.lend ? output.data : await copyOf(output, pause);
    results[name] = { dtype: output.dtype, shape: output.shape, data };
  }
  return results;
}

/** A run with its own run options: terminating it must not touch the next. */
async function runStoppable(
  session: Pointer,
  binding: Pointer,
  { signal, releaseAfterRun }: StoppableOptions,
): Promise<void> {
  const ort = loadOrt();
  const options = ort.create('CreateRunOptions');
  if (releaseAfterRun) ort.call.AddRunConfigEntry(options, 'memory.enable_memory_arena_shrinkage', 'cpu:0');
  const stop = () => ort.call.RunOptionsSetTerminate(options);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await ort.callAsync('RunWithBinding', session, options, binding);
  } catch (error) {
    throwIfAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
    ort.call.ReleaseRunOptions(options);
    if (releaseAfterRun) await returnFreedMemory();
  }
}
