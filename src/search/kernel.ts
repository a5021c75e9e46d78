import type { Tensor } from '../core/tensor.js';
import { createGraphBuilder, type Graph } from '../graph/builder.js';
import { matMul, matMulTransposed } from '../graph/functions.js';
import type { Runtime, Session } from '../runtime/runtime.js';

/** Rows of vectors in the runtime's memory. */
export interface Block {
  /** [count, dimension], to be filled by its owner. */
  readonly rows: Float32Array;
  readonly count: number;
  /** Products with queries [n, dimension]: [count, n]; valid until the next call with as many queries. */
  products(queries: Float32Array): Promise<Float32Array>;
}

/** Products of many vectors at once: what scanning, clustering and pairing are made of. */
export interface ProductKernel {
  readonly dimension: number;
  block(count: number): Block;
  dispose(): Promise<void>;
}

/** One query: rows · query, the fastest way through memory. */
function oneQueryGraph(dimension: number): Graph {
  const builder = createGraphBuilder('scan');
  const rows = builder.input('rows', 'float32', ['rows', dimension]);
  const query = builder.input('queries', 'float32', [dimension, 1]);
  builder.output('products', matMul(builder.root, rows, query));
  return builder.finish();
}

/** Many: rows · queriesᵀ. */
function manyQueriesGraph(dimension: number): Graph {
  const builder = createGraphBuilder('products');
  const rows = builder.input('rows', 'float32', ['rows', dimension]);
  const queries = builder.input('queries', 'float32', ['queries', dimension]);
  builder.output('products', matMulTransposed(builder.root, rows, queries));
  return builder.finish();
}

/** A kernel on a runtime. Sessions are compiled when first needed. */
export function createProductKernel(runtime: Runtime, dimension: number): ProductKernel {
  const sessions = new Map<'one' | 'many', Promise<Session>>();
  const session = (kind: 'one' | 'many') => {
    const known = sessions.get(kind);
    if (known) return known;
    const graph = kind === 'one' ? oneQueryGraph(dimension) : manyQueriesGraph(dimension);
    const compiled = runtime.compile(graph, { weights: () => undefined });
    sessions.set(kind, compiled);
    return compiled;
  };
  return {
    dimension,
    block: (count) => createBlock(runtime, dimension, count, session),
    dispose: async () => {
      const all = [...sessions.values()];
      sessions.clear();
      for (const each of all) await (await each).dispose();
    },
  };
}

type BoundRun = Readonly<Record<'rows' | 'queries' | 'products', Tensor<'float32'>>>;

function createBlock(
  runtime: Runtime,
  dimension: number,
  count: number,
  session: (kind: 'one' | 'many') => Promise<Session>,
): Block {
  const rows = runtime.allocate('float32', count * dimension);
  const runs = new Map<number, BoundRun>();
  const runFor = (queries: number): BoundRun => {
    const known = runs.get(queries);
    if (known) return known;
    const f32 = (shape: readonly number[], data: Float32Array): Tensor<'float32'> => ({
      dtype: 'float32',
      shape,
      data,
    });
    const made: BoundRun = {
      rows: f32([count, dimension], rows),
      queries: f32(
        queries === 1 ? [dimension, 1] : [queries, dimension],
        runtime.allocate('float32', queries * dimension),
      ),
      products: f32([count, queries], runtime.allocate('float32', count * queries)),
    };
    runs.set(queries, made);
    return made;
  };
  return {
    rows,
    count,
    products: async (queries) => {
      const bound = runFor(queries.length / dimension);
      bound.queries.data.set(queries);
      await (await session(queries.length === dimension ? 'one' : 'many')).run({}, { bound, outputs: [] });
      return bound.products.data;
    },
  };
}
