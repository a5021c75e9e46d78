/** From a piece of work to a session that runs it forward and backward in the arenas' memory. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import { cutGraph } from '../grad/cut.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import { type Arenas, viewSlot } from './arena.js';
import { addDropout, type DropoutRates, type DropoutSite } from './dropout.js';
import { recomputeBlocks, undoingOptimizers } from './recompute.js';
import type { Work } from './task.js';

/** Gives the mask of a site, the i-th of its graph. */
export type MaskDrawer = (site: DropoutSite, i: number) => Tensor<'bool'>;

/** One compiled graph, forward and backward, bound to the arenas. */
export interface Compiled {
  /** Returns the loss; gradients go into the arena's slots, the slots of other parameters stay. */
  run(work: Work, draw: MaskDrawer): Promise<number>;
  readonly parameters: readonly string[];
  dispose(): Promise<void>;
}

export interface CompileWorkOptions {
  readonly arenas: Arenas;
  /** Where gradients go: laid out as the arenas' trainable part. */
  readonly gradients: Float32Array;
  readonly dropout: DropoutRates;
  readonly activationCheckpointing: boolean;
}

/** Graphs of different extents that stay compiled. */
const maxCompiled = 6;

/** Compiled works by key; of those not used for longest, few are kept. */
export interface CompiledWorks {
  /** `gradients`: the arena's, or memory laid out as it. */
  get(work: Work, gradients: Float32Array): Promise<Compiled>;
  dispose(): Promise<void>;
}

export function createCompiledWorks(runtime: Runtime, options: Omit<CompileWorkOptions, 'gradients'>): CompiledWorks {
  const compiled = new Map<string, Compiled>();
  return {
    get: async (work, gradients) => {
      const key = `${work.key}${gradients === options.arenas.gradients ? '' : ' (scratch)'}`;
      const known = compiled.get(key) ?? (await compileWork(runtime, work, { ...options, gradients }));
      compiled.delete(key);
      compiled.set(key, known);
      if (compiled.size > maxCompiled) {
        const [oldest, { dispose }] = compiled.entries().next().value as [string, Compiled];
        compiled.delete(oldest);
        await dispose();
      }
      return known;
    },
    dispose: async () => {
      for (const graph of compiled.values()) await graph.dispose();
      compiled.clear();
    },
  };
}

/** Differentiates and compiles a piece of work. */
async function compileWork(
  runtime: Runtime,
  work: Work,
  { arenas, gradients, dropout, activationCheckpointing }: CompileWorkOptions,
): Promise<Compiled> {
  const { graph: forward, sites } = addDropout(work.graph(), dropout);
  const trained = forward.parameters.map(({ name }) => name).filter((name) => isTrained(arenas, name));
  const { hostLoss } = work;
  const differentiated = differentiate(forward, {
    parameters: trained,
    ...(hostLoss && { output: hostLoss.output, seed: 'seed' }),
  });
  const count = forward.nodes.length;
  const whole = activationCheckpointing ? recomputeBlocks(differentiated, count) : differentiated;
  const compile = (graph: Graph) =>
    runtime.compile(graph, {
      weights: () => undefined,
      ...(activationCheckpointing && { disabledOptimizers: undoingOptimizers }),
    });
  const masks = (draw: MaskDrawer) => Object.fromEntries(sites.map((site, i) => [site.input, draw(site, i)]));
  const bindings: Record<string, Tensor> = {};
  for (const { name } of forward.parameters) {
    const slot = arenas.layout.slots.get(name);
    if (!slot) throw new InputError(`training: the task did not declare the parameter ${name}`);
    bindings[name] = viewSlot(arenas.parameters, slot);
    if (trained.includes(name)) bindings[gradientName(name)] = viewSlot(gradients, slot);
  }
  const inputGraph = parametersAsInputs(whole);
  if (!hostLoss) {
    const session = await compile(inputGraph);
    const outputs = ['loss', ...gradientNames(trained)];
    return {
      parameters: trained,
      dispose: () => session.dispose(),
      run: async ({ feeds }, draw) =>
        Number((await session.run({ ...feeds, ...masks(draw) }, { bound: bindings, outputs }))['loss'].data[0]),
    };
  }
  const hosted = await compileHostLoss(runtime, cutGraph(inputGraph, count), { bindings, trained, compile });
  return {
    ...hosted,
    run: (given, draw) => hosted.run({ ...given, feeds: { ...given.feeds, ...masks(draw) } }, draw),
  };
}

const gradientNames = (parameters: readonly string[]) => parameters.map(gradientName);

async function compileHostLoss(
  runtime: Runtime,
  { first, second, crossing }: ReturnType<typeof cutGraph>,
  {
    bindings,
    trained,
    compile,
  }: {
    readonly bindings: Readonly<Record<string, Tensor>>;
    readonly trained: readonly string[];
    readonly compile: (graph: Graph) => Promise<Session>;
  },
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
  for (const graph of [first, second]) sessions.push(await compile(graph));
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
