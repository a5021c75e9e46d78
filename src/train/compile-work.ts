/** From a piece of work to a session that runs it forward and backward in the arenas' memory. */
import { InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import { differentiate, gradientName } from '../grad/backward.js';
import type { Runtime } from '../runtime/runtime.js';
import type { Arenas } from './arena.js';
import { bindParameters, compileForTraining, compileHalves, trainedOf } from './bound-graph.js';
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

/** Differentiates and compiles a piece of work. */
export async function compileWork(
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
  const forwardCount = forward.nodes.length;
  const whole = activationCheckpointing ? recomputeBlocks(differentiated, forwardCount) : differentiated;
  const options = activationCheckpointing ? { disabledOptimizers: undoingOptimizers } : {};
  const bindings = bindParameters(forward, { arenas, gradients, trained });
  const withMasks = (feeds: Work['feeds'], draw: MaskDrawer) => ({
    ...feeds,
    ...Object.fromEntries(sites.map((site, i) => [site.input, draw(site, i)])),
  });
  if (!hostLoss) {
    const session = await compileForTraining(runtime, whole, options);
    const outputs = ['loss', ...trained.map(gradientName)];
    return {
      parameters: trained,
      dispose: () => session.dispose(),
      run: async ({ feeds }, draw) =>
        Number((await session.run(withMasks(feeds, draw), { bound: bindings, outputs }))['loss'].data[0]),
    };
  }
  const { output } = hostLoss;
  const halves = await compileHalves(runtime, whole, { forwardCount, output, bindings, trained, ...options });
  return {
    parameters: trained,
    dispose: halves.dispose,
    run: async ({ feeds, hostLoss: evaluated }, draw) => {
      if (!evaluated) throw new InputError('training: works with one key must agree on where the loss is worked out');
      const given = withMasks(feeds, draw);
      const { loss, gradient } = evaluated.evaluate(await halves.forward(given));
      await halves.backward(given, gradient);
      return loss;
    },
  };
}
