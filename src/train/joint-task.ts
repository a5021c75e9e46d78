import type { Tensor } from '../core/tensor.js';
import type { Graph, ParameterSpec } from '../graph/builder.js';
import type { Arenas } from './arena.js';
import type { Peers } from './peers.js';

/** A run of a compiled graph that gives one of several outputs that a loss is worked out of together. */
export interface Piece {
  /** Pieces with equal keys share a compiled graph. */
  readonly key: string;
  /** Known extents throughout. */
  graph(): Graph;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly output: string;
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
export interface JointTask<Batch> {
  /** All that the task can train, with how it starts. */
  readonly parameters: readonly ParameterSpec[];
  /** Parameters that never become larger than this, by name. */
  readonly limits: Readonly<Record<string, number>>;
  /** How many rows a batch has, as figures of speed count them. */
  count(batch: Batch): number;
  pieces(parts: readonly Batch[]): readonly Piece[];
  join(
    outputs: readonly Tensor<'float32'>[],
    context: { readonly parts: readonly Batch[]; readonly arenas: Arenas; readonly peers: Peers | undefined },
  ): Promise<Joined>;
  dispose(): Promise<void>;
}
