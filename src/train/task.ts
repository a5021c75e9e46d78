import type { Tensor } from '../core/tensor.js';
import type { Graph, ParameterSpec } from '../graph/builder.js';

/** One piece of work for one compiled graph. */
export interface Work {
  /** Works with equal keys share a compiled graph. */
  readonly key: string;
  /** Known extents throughout. Gives the scalar `loss`, or what `hostLoss` takes. */
  graph(): Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** A loss that is worked out outside the graph, from one of its outputs: its value and its gradient by that output. */
  readonly hostLoss?: {
    readonly output: string;
    evaluate(value: Tensor): { readonly loss: number; readonly gradient: Tensor };
  };
}

/** What is trained: how batches become work. */
export interface Task<Batch> {
  /** All that the task can train, with how it starts. */
  readonly parameters: readonly ParameterSpec[];
  /** What the loss is averaged over: tokens, or rows. */
  count(batch: Batch): number;
  /** The loss is divided by `total`, the counts of all parts of the step on all processes. */
  prepare(batch: Batch, total: number): Work;
}
