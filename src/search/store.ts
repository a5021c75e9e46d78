import type { Condition } from './conditions.js';
import type { PictureInfo } from './picture.js';

/** A picture and its unit vector [dimension]. */
export interface Row {
  readonly info: PictureInfo;
  readonly vector: Float32Array;
}

/** A picture found; the score is the cosine of its vector and the query's. */
export interface Hit {
  readonly score: number;
  readonly info: PictureInfo;
}

export interface StoreQuery {
  /** Most hits. */
  readonly top: number;
  /** All of them must hold. */
  readonly where: readonly Condition[];
  /** Looks at every vector, whatever lists there are. */
  readonly exact: boolean;
}

/** Unit vectors by path, searched by cosine. Whatever keeps them: files of ours, LanceDB, a Qdrant server. */
export interface VectorStore {
  readonly dimension: number;
  /** What every picture is, in the order of adding. */
  list(): Promise<readonly PictureInfo[]>;
  /** Adds rows; one of a path that is there takes its place. They are safe when this returns. */
  add(rows: readonly Row[]): Promise<void>;
  /** Paths that are not there are no error. Returns how many there were. */
  remove(paths: readonly string[]): Promise<number>;
  /** The vectors of these paths, in order: [paths, dimension]. Throws InputError for one that is not there. */
  vectors(paths: readonly string[]): Promise<Float32Array>;
  /** Hits by falling score. `query` is a unit vector [dimension]. */
  search(query: Float32Array, options: StoreQuery): Promise<Hit[]>;
  /** Makes searching fast after many changes; without need it does nothing. */
  optimize(): Promise<void>;
  dispose(): Promise<void>;
}
