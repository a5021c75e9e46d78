import type { DType, TypedArray, TypedArrayOf } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type { Graph, Parameter } from '../graph/builder.js';

export type Device = 'cpu' | 'cuda' | 'webgpu';

/** Puts a parameter's values into memory of the right size that the runtime owns. */
export type WeightLoader = (parameter: Parameter, into: TypedArray) => void | Promise<void>;

export interface CompileOptions {
  /** Called once for every parameter of the graph, in order; the memory is only valid during the call. */
  readonly weights: WeightLoader;
  /** Where to write the runtime's profile when the session is disposed. */
  readonly profilePath?: string;
  /** Gives what a run took beside the weights back to the system after it: for runs that are large and few. */
  readonly releaseAfterRun?: boolean;
  /** Threads of a run where not all of the runtime's, which then do not wait for runs of other sessions. */
  readonly threads?: number;
  /** Graph optimizers to switch off, by the runtime's names. */
  readonly disabledOptimizers?: readonly string[];
}

/** Values for the symbolic extents of a graph. */
export type Extents = Readonly<Record<string, number>>;

/** The carried tensors of one session (a cache), updated by every run they are given to. Starts as zeros. */
export interface CarriedTensors {
  readonly extents: Extents;
  /** Rows [start, start + count) of every tensor's first axis, sharing memory. Valid as long as the whole is. */
  rows(start: number, count: number): CarriedTensors;
  /** Puts row `from[i]` in place of row i. */
  permuteRows(from: readonly number[]): void;
  /** The same contents with a symbolic extent changed: cut or padded with zeros at the end. The old one is disposed. */
  resize(extents: Extents): Promise<CarriedTensors>;
  dispose(): void;
}

export interface RunOptions {
  /** The outputs wanted; the others are not copied. Default: all that are not carried. */
  readonly outputs?: readonly string[];
  readonly state?: CarriedTensors;
  /** The results may be the session's own memory, which a later run writes again: for what is looked at before that, and is large. */
  readonly lend?: boolean;
  /**
   * Inputs that the run reads, and outputs that it writes, in the caller's own memory, by name: tensors over what
   * `Runtime.allocate` gave. They are not copied and are not among the results. Pass the same object again: what was bound is kept.
   */
  readonly bound?: Readonly<Record<string, Tensor>>;
  /** Stops the run within one kernel; the run then throws AbortedError. */
  readonly signal?: AbortSignal;
}

/** A compiled graph. Runs of one session are queued. */
export interface Session {
  readonly graph: Graph;
  /** Feeds by input name. Throws ShapeError for a missing input, another dtype or another shape. */
  run(feeds: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<Record<string, Tensor>>;
  createState(extents: Extents): CarriedTensors;
  /**
   * The same compiled graph and weights for another caller, who disposes it: its runs are queued by themselves, and overlap with those
   * of this session where the runtime can. States are of the session that made them.
   */
  fork(): Session;
  /** Waits for the run in flight, then frees everything that no fork needs. A second call does nothing. */
  dispose(): Promise<void>;
}

export interface Runtime {
  readonly device: Device;
  readonly threads: number;
  /**
   * How many runs of one thread each keep it busy: `threads`, or twice as many where these are all that the machine has, since a core
   * that waits for one run's results to be looked at takes up another's.
   */
  readonly runsAtOnce: number;
  compile(graph: Graph, options: CompileOptions): Promise<Session>;
  /** Zeroed memory that runs can be bound to; parts of it by `subarray`. */
  allocate<D extends DType>(dtype: D, length: number): TypedArrayOf<D>;
}

/** The concrete types of a graph's inputs and outputs once the feeds are known. */
export interface ConcreteType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}
