/** Graphs compiled for training, forward and backward, bound to the arenas. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import { cutGraph } from '../grad/cut.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type Arenas, viewSlot } from './arena.js';
import type { Piece, Work } from './task.js';

/** A graph whose loss is one of its outputs. */
export interface Compiled {
  /** Returns the loss; gradients go into the arena's slots, the slots of other parameters stay. */
  run(work: Work): Promise<number>;
  readonly parameters: readonly string[];
  dispose(): Promise<void>;
}

/** A graph whose output's gradient comes from outside. */
export interface CompiledPiece {
  /** The output. What backward needs of it is kept until the next run. */
  forward(feeds: Piece['feeds']): Promise<Tensor<'float32'>>;
  /** After `forward` of the same feeds: gradients go into the arena's slots. */
  backward(feeds: Piece['feeds'], gradient: Tensor): Promise<void>;
  /** Those that have gradients; none where all are frozen. */
  readonly parameters: readonly string[];
  dispose(): Promise<void>;
}

export async function compileWork(
  runtime: Runtime,
  work: Work,
  arenas: Arenas,
  gradients: Float32Array,
): Promise<Compiled> {
  const { hostLoss } = work;
  if (hostLoss) {
    const piece = await compilePiece(runtime, { ...work, output: hostLoss.output }, arenas, gradients);
    return {
      parameters: piece.parameters,
      dispose: piece.dispose,
      run: async ({ feeds, hostLoss: own }) => {
        if (!own) throw new InputError('training: works with one key must agree on where the loss is worked out');
        const { loss, gradient } = own.evaluate(await piece.forward(feeds));
        await piece.backward(feeds, gradient);
        return loss;
      },
    };
  }
  const forward = work.graph();
  const trained = trainedOf(forward, arenas);
  const bound = bindParameters(forward, { arenas, gradients, trained });
  const session = await compileForTraining(runtime, differentiate(forward, { parameters: trained }));
  const outputs = ['loss', ...trained.map(gradientName)];
  return {
    parameters: trained,
    dispose: () => session.dispose(),
    run: async ({ feeds }) => Number((await session.run(feeds, { bound, outputs }))['loss'].data[0]),
  };
}

export async function compilePiece(
  runtime: Runtime,
  piece: Piece,
  arenas: Arenas,
  gradients: Float32Array,
): Promise<CompiledPiece> {
  const graph = piece.graph();
  const { output } = piece;
  const trained = trainedOf(graph, arenas);
  const parameters = bindParameters(graph, { arenas, gradients, trained });
  if (trained.length === 0) {
    const session = await compileForTraining(runtime, graph);
    return {
      parameters: trained,
      dispose: () => session.dispose(),
      forward: async (feeds) =>
        (await session.run(feeds, { bound: parameters, outputs: [output] }))[output] as Tensor<'float32'>,
      backward: async () => undefined,
    };
  }
  const whole = parametersAsInputs(differentiate(graph, { parameters: trained, output, seed: 'seed' }));
  const { first, second, crossing } = cutGraph(whole, graph.nodes.length);
  const bound = { ...parameters, ...allocateCrossing(runtime, crossing) };
  const [before, after] = [onlyOf(first, bound), onlyOf(second, bound)];
  const sessions: Session[] = [];
  for (const half of [first, second]) sessions.push(await compileForTraining(runtime, half));
  return {
    parameters: trained,
    dispose: async () => {
      for (const session of sessions) await session.dispose();
    },
    forward: async (feeds) => {
      const outputs = first.outputs.map(({ name }) => name);
      const results = await sessions[0].run(pick(feeds, first.inputs, before), { bound: before, outputs });
      return (results[output] ?? before[output]) as Tensor<'float32'>;
    },
    backward: async (feeds, gradient) => {
      await sessions[1].run(pick({ ...feeds, seed: gradient }, second.inputs, after), {
        bound: after,
        outputs: trained.map(gradientName),
      });
    },
  };
}

const trainedOf = (graph: Graph, arenas: Arenas): readonly string[] =>
  graph.parameters.map(({ name }) => name).filter((name) => isTrained(arenas, name));

function isTrained({ layout }: Arenas, name: string): boolean {
  const slot = layout.slots.get(name);
  return slot !== undefined && slot.offset < layout.trainableSize;
}

/** Parameters and gradients in the arenas, by the names that the graph has for them. */
function bindParameters(
  graph: Graph,
  { arenas, gradients, trained }: { arenas: Arenas; gradients: Float32Array; trained: readonly string[] },
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

function allocateCrossing(runtime: Runtime, crossing: readonly NamedValue[]): Record<string, Tensor> {
  return Object.fromEntries(
    crossing.map(({ name, value }) => {
      const shape = value.shape.map(Number);
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, { dtype: value.dtype, shape, data: runtime.allocate(value.dtype, size) }];
    }),
  );
}

function onlyOf(graph: Graph, bound: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const names = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name));
  return Object.fromEntries(Object.entries(bound).filter(([name]) => names.has(name)));
}

function pick(feeds: Piece['feeds'], inputs: readonly NamedValue[], bound: object): Record<string, Tensor> {
  const names = inputs.map(({ name }) => name).filter((name) => !(name in bound));
  return Object.fromEntries(names.map((name) => [name, feeds[name]]));
}

/** Weights come with every run: they change between runs. */
function parametersAsInputs(graph: Graph): Graph {
  return { ...graph, inputs: [...graph.inputs, ...graph.parameters], parameters: [] };
}

/** A session whose parameters are inputs. */
export function compileForTraining(runtime: Runtime, graph: Graph): Promise<Session> {
  return runtime.compile(parametersAsInputs(graph), { weights: () => undefined });
}
