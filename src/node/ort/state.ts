import type { TypedArray } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import { sizeOf } from '../../core/tensor.js';
import type { Graph } from '../../graph/builder.js';
import { concreteType } from '../../runtime/bind-shapes.js';
import { commonPieces, permuteRows } from '../../runtime/carried.js';
import type { CarriedTensors, Extents } from '../../runtime/runtime.js';
import { createPauses } from '../pauses.js';
import { type BoundTensor, bindTensor, bindTogether, copyBytes } from './memory.js';

/** Carried tensors that kernels update in place: each is bound as its own input and output. */
export interface BoundState extends CarriedTensors {
  /** By input name. */
  readonly tensors: ReadonlyMap<string, BoundTensor>;
  /** Run when this state goes, before its memory does: bindings that point at it. */
  onDispose(release: () => void): void;
  rows(start: number, count: number): BoundState;
  resize(extents: Extents): Promise<BoundState>;
}

/** Told of every state that has memory of its own: the one that is made, and those that `resize` makes in its place. */
export type StateKeeper = (state: BoundState) => void;

/** Zeroed carried tensors of a graph for the given extents. */
export function createState(graph: Graph, extents: Extents, keep: StateKeeper): BoundState {
  const known = new Map(Object.entries(extents));
  const carried = new Set(graph.states.map(({ input }) => input));
  const declared = graph.inputs.filter(({ name }) => carried.has(name));
  const bound = bindTogether(declared.map((input) => concreteType(input, known)));
  const state = stateOf(graph, extents, new Map(declared.map(({ name }, i) => [name, bound[i]])), keep);
  keep(state);
  return state;
}

function stateOf(
  graph: Graph,
  extents: Extents,
  tensors: ReadonlyMap<string, BoundTensor>,
  keep: StateKeeper,
): BoundState {
  const releases = new Set<() => void>();
  let disposed = false;
  const dispose = () => {
    if (disposed) return;
    disposed = true;
    for (const release of releases) release();
    for (const tensor of tensors.values()) tensor.release();
  };
  return {
    extents,
    tensors,
    onDispose: (release) => {
      releases.add(release);
    },
    rows: (start, count) => {
      const [views, own] = rowsOf(graph, extents, tensors, start, count);
      const view = stateOf(graph, own, views, keep);
      releases.add(view.dispose);
      view.onDispose(() => releases.delete(view.dispose));
      return view;
    },
    permuteRows: (from) => {
      for (const tensor of tensors.values()) permuteRows(tensor, from);
    },
    resize: async (next) => {
      const grown = createState(graph, next, keep);
      // A cache can have hundreds of megabytes.
      const pause = createPauses();
      for (const [name, tensor] of tensors) {
        for (const { target, source } of commonPieces(tensor, grown.tensors.get(name) as BoundTensor)) {
          await copyBytes(target, source, pause);
        }
      }
      dispose();
      return grown;
    },
    dispose,
  };
}

function rowsOf(
  graph: Graph,
  extents: Extents,
  tensors: ReadonlyMap<string, BoundTensor>,
  start: number,
  count: number,
): readonly [ReadonlyMap<string, BoundTensor>, Extents] {
  const views = new Map<string, BoundTensor>();
  let batch: string | undefined;
  for (const [name, { dtype, shape, data }] of tensors) {
    if (start < 0 || start + count > shape[0]) {
      throw new InputError(`state rows ${start}..${start + count}: there are ${shape[0]}`);
    }
    const symbol = graph.inputs.find((input) => input.name === name)?.value.shape[0];
    if (typeof symbol === 'string') batch = symbol;
    const width = sizeOf(shape.slice(1));
    const part = data.subarray(start * width, (start + count) * width) as TypedArray;
    views.set(name, bindTensor({ dtype, shape: [count, ...shape.slice(1)] }, part));
  }
  return [views, batch ? { ...extents, [batch]: count } : extents];
}
