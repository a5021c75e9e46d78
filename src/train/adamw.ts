/** AdamW (arXiv 1711.05101; torch.optim.AdamW) as a graph over flat pieces of the arenas, updated in place. */
import { floats, type Tensor } from '../core/tensor.js';
import { createGraphBuilder, type Graph } from '../graph/builder.js';
import { add, div, mul, scalar, sub } from '../graph/functions.js';
import type { Runtime, Session } from '../runtime/runtime.js';
import type { Arenas } from './arena.js';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

export const defaultAdamW: AdamWOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** Elements updated by one run: arenas of any size pass through the caches, and memory for results stays small. */
const chunkLength = 1 << 19;

/**
 * p ← p·keep − stepSize · m / (√v · correction + ε), with m ← β₁m + (1−β₁)cg and v ← β₂v + (1−β₂)(cg)²; c scales gradients to
 * their clipped norm.
 */
function adamWGraph({ beta1, beta2, epsilon }: AdamWOptions): Graph {
  const builder = createGraphBuilder('adamw');
  const s = builder.root;
  const flat = (name: string) => builder.input(name, 'float32', ['n']);
  const number = (name: string) => builder.input(name, 'float32', []);
  const [p, g, m, v] = [flat('parameters'), flat('gradients'), flat('firstMoments'), flat('secondMoments')];
  const [keep, stepSize, correction, clip] = ['keep', 'stepSize', 'correction', 'clip'].map(number);
  const clipped = mul(s, g, clip);
  const first = add(s, mul(s, m, scalar(s, beta1)), mul(s, clipped, scalar(s, 1 - beta1)));
  const second = add(s, mul(s, v, scalar(s, beta2)), mul(s, mul(s, clipped, clipped), scalar(s, 1 - beta2)));
  const denominator = add(s, mul(s, s.op('Sqrt', [second], {}), correction), scalar(s, epsilon));
  const moved = sub(s, mul(s, p, keep), mul(s, div(s, first, denominator), stepSize));
  builder.output('parameters.next', moved);
  builder.output('firstMoments.next', first);
  builder.output('secondMoments.next', second);
  return builder.finish();
}

export interface AdamW {
  /** One update; `step` counts from 1. `clip` scales the gradients. */
  update(step: number, learningRate: number, clip: number): Promise<void>;
  dispose(): Promise<void>;
}

interface Chunk {
  readonly group: Arenas['layout']['groups'][number];
  readonly bound: Readonly<Record<string, Tensor>>;
}

/** An optimizer over arenas, which it changes in place. */
export async function createAdamW(runtime: Runtime, arenas: Arenas, options: AdamWOptions): Promise<AdamW> {
  const none = () => undefined;
  const session: Session = await runtime.compile(adamWGraph(options), { weights: none });
  const chunks = arenas.layout.groups.flatMap((group) => {
    const count = Math.ceil(group.length / chunkLength);
    return Array.from({ length: count }, (_, i): Chunk => {
      const start = group.offset + i * chunkLength;
      const end = Math.min(start + chunkLength, group.offset + group.length);
      return { group, bound: bindChunk(arenas, start, end) };
    });
  });
  return {
    async update(step, learningRate, clip) {
      const correction1 = 1 - options.beta1 ** step;
      const correction2 = Math.sqrt(1 - options.beta2 ** step);
      for (const { group, bound } of chunks) {
        const rate = learningRate * group.learningRateFactor;
        await session.run(
          {
            keep: floats([], [1 - rate * group.weightDecay]),
            stepSize: floats([], [rate / correction1]),
            correction: floats([], [1 / correction2]),
            clip: floats([], [clip]),
          },
          { bound },
        );
      }
    },
    dispose: () => session.dispose(),
  };
}

function bindChunk(arenas: Arenas, start: number, end: number): Chunk['bound'] {
  const { parameters, gradients, firstMoments, secondMoments } = arenas;
  const part = (arena: Float32Array): Tensor => ({
    dtype: 'float32',
    shape: [end - start],
    data: arena.subarray(start, end),
  });
  const [p, m, v] = [part(parameters), part(firstMoments), part(secondMoments)];
  return {
    parameters: p,
    gradients: part(gradients),
    firstMoments: m,
    secondMoments: v,
    'parameters.next': p,
    'firstMoments.next': m,
    'secondMoments.next': v,
  };
}
