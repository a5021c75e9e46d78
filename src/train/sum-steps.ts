/** Steps whose loss is the sum of those of their parts. */
import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import { createCompilations } from './compilations.js';
import { type Compiled, type CompileWorkOptions, compileWork } from './compile-work.js';
import { type DropoutSite, drawMask } from './dropout.js';
import { addSlots, clearOthers, type Ground, type Steps } from './steps.js';
import type { Task, Work } from './task.js';

/** Sets the random numbers of dropout apart from those of starting values and data. */
const maskStream = 0xd509;

export interface SumStepsOptions extends Pick<CompileWorkOptions, 'dropout' | 'activationCheckpointing'> {
  /** Of the masks. */
  readonly seed: number;
}

export function createSumSteps<Batch>(
  task: Task<Batch>,
  { runtime, arenas, peers, maxCompiled }: Ground,
  { seed, ...options }: SumStepsOptions,
): Steps<Batch> {
  const compiled = createCompilations<Compiled>(maxCompiled);
  const compiledFor = (work: Work, gradients: Float32Array) =>
    compiled.get(`${work.key}${gradients === arenas.gradients ? '' : ' (scratch)'}`, () =>
      compileWork(runtime, work, { arenas, gradients, ...options }),
    );
  /** Gradients of the second part on, before they are added. */
  let scratch: Float32Array | undefined;
  /** Masks of a part: a function of seed, step and the part's place among those of all processes. */
  const drawer = (step: number, part: number) => {
    const place = part * (peers?.size ?? 1) + (peers?.rank ?? 0);
    return (site: DropoutSite, i: number) => drawMask(site, createRng(seed, maskStream, step, place, i));
  };
  return {
    accumulate: async (parts, step) => {
      const count = parts.reduce((sum, part) => sum + task.count(part), 0);
      const totals = Float64Array.of(count, 0);
      await peers?.sum(totals);
      if (!(totals[0] > 0)) throw new InputError('training: a step has no labels to learn from');
      // A process without a part adds nothing to the others' gradients, and not those of the step before.
      if (parts.length === 0) clearOthers(arenas, []);
      for (const [i, part] of parts.entries()) {
        const work = task.prepare(part, totals[0]);
        if (i > 0) scratch ??= runtime.allocate('float32', arenas.layout.trainableSize);
        const into = scratch && i > 0 ? scratch : arenas.gradients;
        const graph = await compiledFor(work, into);
        if (i === 0) clearOthers(arenas, graph.parameters);
        totals[1] += await graph.run(work, drawer(step, i));
        if (i > 0) addSlots(arenas, into, graph.parameters);
      }
      await peers?.sum(arenas.gradients);
      await peers?.sum(totals.subarray(1));
      return { loss: totals[1], count: totals[0] };
    },
    dispose: compiled.dispose,
  };
}
