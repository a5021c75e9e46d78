import { type InferenceSession, Tensor as NativeTensor } from 'onnxruntime-web/wasm';
import { bytesOf, type TypedArray } from '../core/dtype.js';
import { AbortedError, InputError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { bindExtents } from '../runtime/bind-shapes.js';
import type { RunOptions, Session } from '../runtime/runtime.js';
import { createState, type WebState } from './state.js';

/** A Session over a native one, which it owns. Runs wait for the one before: WebAssembly has one stack. */
export function wrapSession(graph: Graph, native: InferenceSession): Session {
  let tail: Promise<unknown> = Promise.resolve();
  let disposed = false;
  const queue = <T>(task: () => Promise<T>): Promise<T> => {
    const result = tail.then(task);
    tail = result.catch(() => undefined);
    return result;
  };
  const session: Session = {
    graph,
    run: (feeds, options = {}) =>
      queue(async () => {
        if (disposed) throw new InputError(`${graph.name}: this session was disposed`);
        return run(graph, native, feeds, options);
      }),
    createState: (extents) => createState(graph, extents),
    // Nothing overlaps here.
    fork: () => ({ ...session, dispose: async () => undefined }),
    dispose: () =>
      queue(async () => {
        if (disposed) return;
        disposed = true;
        await native.release();
      }),
  };
  return session;
}

async function run(
  graph: Graph,
  native: InferenceSession,
  feeds: Readonly<Record<string, Tensor>>,
  { outputs, state, bound, signal }: RunOptions,
): Promise<Record<string, Tensor>> {
  if (bound) throw new InputError(`${graph.name}: a browser's runs are not bound to memory`);
  throwIfAborted(signal);
  const carried = (state as WebState | undefined)?.tensors;
  bindExtents(graph, feeds, state?.extents);
  const inputs: Record<string, NativeTensor> = {};
  for (const { name } of graph.inputs) {
    const given = carried?.get(name) ?? feeds[name];
    if (!given) throw new InputError(`${graph.name}: a run needs a state for ${name}`);
    inputs[name] = toNative(given);
  }
  const carriedOutputs = new Map(graph.states.map(({ input, output }) => [output, input]));
  const wanted = outputs ?? graph.outputs.map(({ name }) => name).filter((name) => !carriedOutputs.has(name));
  const results = await native.run(inputs, [...wanted, ...carriedOutputs.keys()]);
  throwIfAborted(signal);
  // The state is kept where it is, since rows of it may be views of the same memory.
  for (const [output, input] of carriedOutputs) {
    const kept = carried?.get(input);
    if (kept) bytesOf(kept.data).set(bytesOf(results[output].data as TypedArray));
  }
  return Object.fromEntries(wanted.map((name) => [name, fromNative(results[name])]));
}

function toNative({ dtype, shape, data }: Tensor): NativeTensor {
  return new NativeTensor(dtype as 'float32', data as Float32Array, shape);
}

function fromNative({ type, dims, data }: NativeTensor): Tensor {
  return { dtype: type as Tensor['dtype'], shape: dims, data: data as TypedArray } as Tensor;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('aborted by its signal', { cause: signal.reason });
}
