import type { Tensor } from '../../src/core/tensor.js';
import type { Graph } from '../../src/graph/builder.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import type { CompileOptions } from '../../src/runtime/runtime.js';

/** A loader of weights that are already in memory, by name. */
export function weightsFrom(tensors: ReadonlyMap<string, Tensor>): CompileOptions['weights'] {
  return ({ name, sources, derived }, into) => {
    const found = sources.map((source) => {
      const tensor = tensors.get(source.name);
      if (!tensor) throw new Error(`test: no weight ${source.name}`);
      return tensor as Tensor<'float32'>;
    });
    const tensor = derived ? derived.from.compute(found)[derived.index] : found[0];
    if (tensor.data.length !== into.length) throw new Error(`test: ${name}: ${tensor.shape}`);
    (into as Float32Array).set(tensor.data as Float32Array);
  };
}

/** Compiles a graph, runs it once and frees it. */
export async function runGraph(
  graph: Graph,
  weights: ReadonlyMap<string, Tensor>,
  feeds: Record<string, Tensor>,
): Promise<Record<string, Tensor>> {
  const session = await createRuntime({ threads: 2 }).compile(graph, { weights: weightsFrom(weights) });
  try {
    return await session.run(feeds);
  } finally {
    await session.dispose();
  }
}
