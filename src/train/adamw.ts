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

/** Elements of a piece, which stays in the caches until it is done. */
const pieceLength = 1 << 17;
/** Pieces of one run, which all of its own costs are shared by. */
const piecesOfRun = 8;

/**
 * p ← p·keep − stepSize · m / (√v + ε), with m ← β₁m + a and v ← β₂v + a²·(1−β₂)/(1−β₁)², for each of so many pieces. a is the gradient
 * times 1−β₁ and what clips it (`gain`); stepSize and ε have the bias corrections in them.
 */
function adamWGraph({ beta1, beta2 }: AdamWOptions, pieces: number): Graph {
  const builder = createGraphBuilder('adamw');
  const s = builder.root;
  const [keep, stepSize, epsilon, gain] = stepNumbers.map((name) => builder.input(name, 'float32', []));
  const [forget1, forget2, squareGain] = [beta1, beta2, (1 - beta2) / (1 - beta1) ** 2].map((value) =>
    scalar(s, value),
  );
  for (let i = 0; i < pieces; i++) {
    const [p, g, m, v] = ['parameters', 'gradients', 'firstMoments', 'secondMoments'].map((name) =>
      builder.input(`${name}.${i}`, 'float32', [`n${i}`]),
    );
    const gained = mul(s, g, gain);
    const first = add(s, mul(s, m, forget1), gained);
    const second = add(s, mul(s, v, forget2), mul(s, mul(s, gained, gained), squareGain));
    const direction = div(s, first, add(s, s.op('Sqrt', [second], {}), epsilon));
    builder.output(`parameters.${i}.next`, sub(s, mul(s, p, keep), mul(s, direction, stepSize)));
    builder.output(`firstMoments.${i}.next`, first);
    builder.output(`secondMoments.${i}.next`, second);
  }
  return builder.finish();
}

/** Scalars that every run is given. */
const stepNumbers = ['keep', 'stepSize', 'epsilon', 'gain'] as const;

export interface AdamW {
  /** One update; `step` counts from 1. `clip` scales the gradients. */
  update(step: number, learningRate: number, clip: number): Promise<void>;
  dispose(): Promise<void>;
}

/** A run over some pieces of a group. */
interface Chunk {
  readonly group: Arenas['layout']['groups'][number];
  readonly session: Session;
  readonly bound: Readonly<Record<string, Tensor>>;
}

/** An optimizer over arenas, which it changes in place. */
export async function createAdamW(runtime: Runtime, arenas: Arenas, options: AdamWOptions): Promise<AdamW> {
  const open = (pieces: number) => runtime.compile(adamWGraph(options, pieces), { weights: () => undefined });
  const [several, one] = [await open(piecesOfRun), await open(1)];
  const chunks = arenas.layout.groups.flatMap((group) => {
    const found: Chunk[] = [];
    const end = group.offset + group.length;
    for (let start = group.offset; start < end; ) {
      const pieces = end - start >= piecesOfRun * pieceLength ? piecesOfRun : 1;
      const length = Math.min(pieces * pieceLength, end - start);
      const session = pieces === 1 ? one : several;
      found.push({ group, session, bound: bindPieces(arenas, start, length / pieces, pieces) });
      start += length;
    }
    return found;
  });
  return {
    async update(step, learningRate, clip) {
      const correction1 = 1 - options.beta1 ** step;
      const correction2 = Math.sqrt(1 - options.beta2 ** step);
      for (const { group, session, bound } of chunks) {
        const rate = learningRate * group.learningRateFactor;
        const numbers = {
          keep: 1 - rate * group.weightDecay,
          stepSize: (rate / correction1) * correction2,
          epsilon: options.epsilon * correction2,
          gain: clip * (1 - options.beta1),
        };
        await session.run(Object.fromEntries(stepNumbers.map((name) => [name, floats([], [numbers[name]])])), {
          bound,
        });
      }
    },
    dispose: async () => {
      for (const session of [several, one]) await session.dispose();
    },
  };
}

/** Pieces of `length` elements from `start` on, bound as inputs and as outputs. */
function bindPieces(arenas: Arenas, start: number, length: number, pieces: number): Chunk['bound'] {
  const bound: Record<string, Tensor> = {};
  for (let i = 0; i < pieces; i++) {
    const from = start + i * length;
    for (const name of ['parameters', 'gradients', 'firstMoments', 'secondMoments'] as const) {
      const data = arenas[name].subarray(from, from + length);
      const piece: Tensor = { dtype: 'float32', shape: [length], data };
      bound[`${name}.${i}`] = piece;
      if (name !== 'gradients') bound[`${name}.${i}.next`] = piece;
    }
  }
  return bound;
}
