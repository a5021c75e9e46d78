/** Graphs that run in the arenas' memory: parameters are inputs, gradients outputs, both bound. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { gradientName } from '../grad/backward.js';
import { cutGraph } from '../grad/cut.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type Arenas, viewSlot } from './arena.js';

type Feeds = Readonly<Record<string, Tensor>>;

/** Parameters of a graph that the arenas have gradients for. */
export function trainedOf(graph: Graph, { layout }: Arenas): readonly string[] {
  return graph.parameters.flatMap(({ name }) => {
    const slot = layout.slots.get(name);
    return slot && slot.offset < layout.trainableSize ? [name] : [];
  });
}

export interface Binding {
  readonly arenas: Arenas;
  /** Where gradients go: laid out as the arenas' trainable part. */
  readonly gradients: Float32Array;
  readonly trained: readonly string[];
}

/** Parameters and gradients in the arenas, by the names that the graph has for them. */
export function bindParameters(graph: Graph, { arenas, gradients, trained }: Binding): Record<string, Tensor> {
  const bindings: Record<string, Tensor> = {};
  for (const { name } of graph.parameters) {
    const slot = arenas.layout.slots.get(name);
    if (!slot) throw new InputError(`training: the task did not declare the parameter ${name}`);
    bindings[name] = viewSlot(arenas.parameters, slot);
    if (trained.includes(name)) bindings[gradientName(name)] = viewSlot(gradients, slot);
  }
  return bindings;
}

/** Weights come with every run: they change between runs. */
function parametersAsInputs(graph: Graph): Graph {
  return { ...graph, inputs: [...graph.inputs, ...graph.parameters], parameters: [] };
}

export interface TrainingSessionOptions {
  /** Of the runtime; default: none. */
  readonly disabledOptimizers?: readonly string[];
}

/** A session whose parameters are inputs. */
export function compileForTraining(
  runtime: Runtime,
  graph: Graph,
  options: TrainingSessionOptions = {},
): Promise<Session> {
  return runtime.compile(parametersAsInputs(graph), { weights: () => undefined, ...options });
}

/** A graph in two halves, between which the gradient of its output is worked out elsewhere. */
export interface Halves {
  /** The output. What the second half needs of the first is kept until the next run. */
  forward(feeds: Feeds): Promise<Tensor<'float32'>>;
  /** After `forward` of the same feeds: gradients go where they are bound. */
  backward(feeds: Feeds, gradient: Tensor): Promise<void>;
  dispose(): Promise<void>;
}

/** Compiles a graph that was differentiated with the seed `seed`: its first `forwardCount` nodes, and the others. */
export async function compileHalves(
  runtime: Runtime,
  differentiated: Graph,
  {
    forwardCount,
    output,
    bindings,
    trained,
    ...options
  }: TrainingSessionOptions & {
    readonly forwardCount: number;
    readonly output: string;
    readonly bindings: Feeds;
    readonly trained: readonly string[];
  },
): Promise<Halves> {
  const { first, second, crossing } = cutGraph(parametersAsInputs(differentiated), forwardCount);
  const bound = { ...bindings, ...allocateCrossing(runtime, crossing) };
  const [before, after] = [onlyOf(first, bound), onlyOf(second, bound)];
  const outputs = first.outputs.map(({ name }) => name);
  const sessions: Session[] = [];
  for (const half of [first, second]) sessions.push(await compileForTraining(runtime, half, options));
  return {
    forward: async (feeds) => {
      const results = await sessions[0].run(pick(feeds, first.inputs, before), { bound: before, outputs });
      return (results[output] ?? before[output]) as Tensor<'float32'>;
    },
    backward: async (feeds, gradient) => {
      const given = pick({ ...feeds, seed: gradient }, second.inputs, after);
      await sessions[1].run(given, { bound: after, outputs: trained.map(gradientName) });
    },
    dispose: async () => {
      for (const session of sessions) await session.dispose();
    },
  };
}

function allocateCrossing(runtime: Runtime, crossing: readonly NamedValue[]): Record<string, Tensor> {
  return Object.fromEntries(
    crossing.map(({ name, value }) => {
      const shape = value.shape.map(Number);
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: value.dtype, shape, data: runtime.allocate(value.dtype, size) }];
    }),
  );
}

function onlyOf(graph: Graph, bound: Feeds): Record<string, Tensor> {
  const names = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  return Object.fromEntries(Object.entries(bound).filter(([name]) => names.has(name)));
}

function pick(feeds: Feeds, inputs: readonly NamedValue[], bound: object): Record<string, Tensor> {
  const names = inputs.map(({ name }) => name).filter((name) => !(name in bound));
  return Object.fromEntries(names.map((name) => [name, feeds[name]]));
}
