/** A differentiated graph in two sessions, with the loss worked out between them; and what binds graphs to the arenas. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { gradientName } from '../grad/backward.js';
import type { CutGraph } from '../grad/cut.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type Arenas, viewSlot } from './arena.js';

type Feeds = Readonly<Record<string, Tensor>>;

/** Names of a graph's parameters that have gradients. */
export const trainedOf = (graph: Graph, { layout }: Arenas): readonly string[] =>
  graph.parameters
    .map(({ name }) => name)
    .filter((name) => {
      const slot = layout.slots.get(name);
      return slot !== undefined && slot.offset < layout.trainableSize;
    });

/** Parameters and gradients in the arenas' memory, by the names that the graph has for them. */
export function bindParameters(
  graph: Graph,
  {
    arenas,
    gradients,
    trained,
  }: { readonly arenas: Arenas; readonly gradients: Float32Array; readonly trained: readonly string[] },
): Record<string, Tensor> {
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
export function parametersAsInputs(graph: Graph): Graph {
  return { ...graph, inputs: [...graph.inputs, ...graph.parameters], parameters: [] };
}

export interface Halves {
  /** The output; what backward needs of the run is kept until the next. */
  forward(feeds: Feeds, output: string): Promise<Tensor>;
  /** After `forward` of the same feeds: `seed` is the gradient of its output. Gradients go where they are bound. */
  backward(feeds: Feeds, seed: Tensor): Promise<void>;
  dispose(): Promise<void>;
}

/** Compiles both halves; what crosses between them stays in memory of the runtime. */
export async function compileHalves(
  runtime: Runtime,
  { first, second, crossing }: CutGraph,
  {
    bindings,
    trained,
    compile,
  }: {
    readonly bindings: Feeds;
    readonly trained: readonly string[];
    readonly compile: (graph: Graph) => Promise<Session>;
  },
): Promise<Halves> {
  const bound = { ...bindings, ...allocateCrossing(runtime, crossing) };
  const [before, after] = [onlyOf(first, bound), onlyOf(second, bound)];
  const sessions: Session[] = [];
  for (const half of [first, second]) sessions.push(await compile(half));
  return {
    dispose: async () => {
      for (const session of sessions) await session.dispose();
    },
    forward: async (feeds, output) => {
      const outputs = first.outputs.map(({ name }) => name);
      const results = await sessions[0].run(pick(feeds, first.inputs, before), { bound: before, outputs });
      return results[output] ?? before[output];
    },
    backward: async (feeds, seed) => {
      await sessions[1].run(pick({ ...feeds, seed }, second.inputs, after), {
        bound: after,
        outputs: trained.map(gradientName),
      });
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
