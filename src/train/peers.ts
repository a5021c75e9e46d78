/** Processes that train together, each with its own part of every batch. */
export interface Peers {
  readonly rank: number;
  readonly size: number;
  /** Sums `data` over all processes, in place. */
  sum(data: Float32Array | Float64Array): void | Promise<void>;
  /** The data of all processes behind each other, in order of rank. All must give as many. */
  gather<T extends Float32Array | Float64Array>(data: T): T | Promise<T>;
}
