import type { TypedArray } from '../core/dtype.js';
import { InputError } from '../core/errors.js';
import { sizeOf, type Tensor, zeros } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { concreteType } from '../runtime/bind-shapes.js';
import { commonPieces, permuteRows } from '../runtime/carried.js';
import type { CarriedTensors, Extents } from '../runtime/runtime.js';

/** Carried tensors in the page's memory: a run takes copies in, and what it gives out is copied back. */
export interface WebState extends CarriedTensors {
  /** By input name. */
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Zeroed carried tensors of a graph for the given extents. */
export function createState(graph: Graph, extents: Extents): WebState {
  const known = new Map(Object.entries(extents));
  const tensors = new Map<string, Tensor>();
  for (const { input } of graph.states) {
    const declared = graph.inputs.find(({ name }) => name === input);
    if (!declared) continue;
    const { dtype, shape } = concreteType(declared, known);
    tensors.set(input, zeros(dtype, shape));
  }
  return stateOf(graph, extents, tensors);
}

function stateOf(graph: Graph, extents: Extents, tensors: ReadonlyMap<string, Tensor>): WebState {
  return {
    extents,
    tensors,
    rows: (start, count) => rowsOf(graph, extents, tensors, start, count),
    permuteRows: (from) => {
      for (const tensor of tensors.values()) permuteRows(tensor, from);
    },
    resize: async (next) => {
      const grown = createState(graph, next);
      for (const [name, tensor] of tensors) {
        for (const { target, source } of commonPieces(tensor, grown.tensors.get(name) as Tensor)) target.set(source);
      }
      return grown;
    },
    // The memory is the page's own: it goes when nobody has it.
    dispose: () => undefined,
  };
}

function rowsOf(
  graph: Graph,
  extents: Extents,
  tensors: ReadonlyMap<string, Tensor>,
  start: number,
  count: number,
): WebState {
  const views = new Map<string, Tensor>();
  let batch: string | undefined;
  for (const [name, { dtype, shape, data }] of tensors) {
    if (start < 0 || start + count > shape[0]) {
      throw new InputError(`state rows ${start}..${start + count}: there are ${shape[0]}`);
    }
    const symbol = graph.inputs.find((input) => input.name === name)?.value.shape[0];
    if (typeof symbol === 'string') batch = symbol;
    const width = sizeOf(shape.slice(1));
    const part = data.subarray(start * width, (start + count) * width) as TypedArray;
    views.set(name, { dtype, shape: [count, ...shape.slice(1)], data: part } as Tensor);
  }
  return stateOf(graph, batch === undefined ? extents : { ...extents, [batch]: count }, views);
}
