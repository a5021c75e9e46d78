/** From a piece of work to a session that runs it forward and backward in the arenas' memory. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import { cutGraph } from '../grad/cut.js';
import type { Graph } from '../graph/builder.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Arenas } from './arena.js';
import { createCompilations } from './compilations.js';
import { addDropout, type DropoutRates, type DropoutSite } from './dropout.js';
import { bindParameters, compileHalves, parametersAsInputs, trainedOf } from './halves.js';
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

/** Compiled works by key; of those not used for longest, few are kept. */
export interface CompiledWorks {
  /** `gradients`: the arena's, or memory laid out as it. */
  get(work: Work, gradients: Float32Array): Promise<Compiled>;
  dispose(): Promise<void>;
}

export function createCompiledWorks(runtime: Runtime, options: Omit<CompileWorkOptions, 'gradients'>): CompiledWorks {
  const compiled = createCompilations<Compiled>();
  return {
    get: (work, gradients) =>
      compiled.get(`${work.key}${gradients === options.arenas.gradients ? '' : ' (scratch)'}`, () =>
        compileWork(runtime, work, { ...options, gradients }),
      ),
    dispose: compiled.dispose,
  };
}

/** Differentiates and compiles a piece of work. */
async function compileWork(
  runtime: Runtime,
  work: Work,
  { arenas, gradients, dropout, activationCheckpointing }: CompileWorkOptions,
): Promise<Compiled> {
  const { graph: forward, sites } = addDropout(work.graph(), dropout);
  const trained = trainedOf(forward, arenas);
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
  const bindings = bindParameters(forward, { arenas, gradients, trained });
  const inputGraph = parametersAsInputs(whole);
  if (!hostLoss) {
    const session = await compile(inputGraph);
    const outputs = ['loss', ...trained.map(gradientName)];
    return {
      parameters: trained,
      dispose: () => session.dispose(),
      run: async ({ feeds }, draw) =>
        Number((await session.run({ ...feeds, ...masks(draw) }, { bound: bindings, outputs }))['loss'].data[0]),
    };
  }
  const halves = await compileHalves(runtime, cutGraph(inputGraph, count), { bindings, trained, compile });
  return {
    parameters: trained,
    dispose: halves.dispose,
    run: async ({ feeds, hostLoss: own }, draw) => {
      if (!own) throw new InputError('training: works with one key must agree on where the loss is worked out');
      const all = { ...feeds, ...masks(draw) };
      const { loss, gradient } = own.evaluate(await halves.forward(all, own.output));
      await halves.backward(all, gradient);
      return loss;
    },
  };
}
