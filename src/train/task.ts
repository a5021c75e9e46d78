import type { Tensor } from '../core/tensor.js';
import type { Graph, ParameterSpec } from '../graph/builder.js';
import type { Arenas } from './arena.js';
import type { Peers } from './peers.js';

/** One run of one compiled graph. */
interface GraphRun {
  /** Runs with equal keys share a compiled graph. */
  readonly key: string;
  /** Known extents throughout. */
  graph(): Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/** A run whose graph gives the scalar `loss`, or what `hostLoss` takes. */
export interface Work extends GraphRun {
  /** A loss that is worked out outside the graph, from one of its outputs: its value and its gradient by that output. */
  readonly hostLoss?: {
    readonly output: string;
    evaluate(value: Tensor): { readonly loss: number; readonly gradient: Tensor };
  };
}

/** A run that gives one of several outputs that a loss is worked out of together. */
export interface Piece extends GraphRun {
  readonly output: string;
}

interface Trained {
  /** All that the task can train, with how it starts. */
  readonly parameters: readonly ParameterSpec[];
  /** Parameters that never become larger than this, by name. */
  readonly limits?: Readonly<Record<string, number>>;
}

/** What is trained: how batches become work. The loss is a sum over them. */
export interface Task<Batch> extends Trained {
  /** What the loss is averaged over: tokens, or rows. */
  count(batch: Batch): number;
  /** The loss is divided by `total`, the counts of all parts of the step on all processes. */
  prepare(batch: Batch, total: number): Work;
}

/** The loss of all pieces together, and its gradients. */
export interface Joined {
  /** This process's share: the shares of all processes add up to the loss. */
  readonly loss: number;
  /** By the output of every piece, in their order. */
  readonly gradients: readonly Tensor[];
  /** By parameters that only the loss has; of all processes together, like the loss. */
  readonly ownGradients: Readonly<Record<string, Tensor>>;
}

/**
 * What is trained by a loss that compares all rows of a step with each other, those of other processes among them. Pieces run
 * forward one after the other, then the loss once, then backward (Gao et al., arXiv 2101.06983): memory is that of one piece.
 */
export interface JointTask<Batch> extends Trained {
  pieces(parts: readonly Batch[]): readonly Piece[];
  join(
    outputs: readonly Tensor<'float32'>[],
    context: { readonly parts: readonly Batch[]; readonly arenas: Arenas; readonly peers: Peers | undefined },
  ): Promise<Joined>;
  dispose(): Promise<void>;
}
