/** The runtime of browsers: ONNX Runtime compiled to WebAssembly, on one thread, which needs no COOP and COEP headers. */
import { env, InferenceSession } from 'onnxruntime-web/wasm';
import { allocate, bytesOf, type DType, type TypedArrayOf } from '../core/dtype.js';
import { InputError, messageOf, RuntimeUnavailableError } from '../core/errors.js';
import { zeros } from '../core/tensor.js';
import type { Graph } from '../graph/builder.js';
import { emitModel } from '../onnx/emit.js';
import { concreteShape } from '../runtime/bind-shapes.js';
import type { CompileOptions, Runtime, Session } from '../runtime/runtime.js';
import { wrapSession } from './session.js';

export interface WebRuntimeOptions {
  /** The URL of onnxruntime-web's `ort-wasm-simd-threaded.wasm`. The first runtime's counts for all. */
  readonly wasm: string;
}

/** Starts WebAssembly when the first graph is compiled. */
export function createWebRuntime({ wasm }: WebRuntimeOptions): Runtime {
  env.logLevel = 'fatal';
  env.wasm.numThreads = 1;
  env.wasm.proxy = false;
  env.wasm.wasmPaths = { wasm };
  return {
    device: 'cpu',
    threads: 1,
    runsAtOnce: 1,
    compile,
    allocate: <D extends DType>(dtype: D, length: number): TypedArrayOf<D> => allocate(dtype, length),
  };
}

/** Weights go in as files in memory, one a parameter; they are let go of when the session has them. */
async function compile(graph: Graph, options: CompileOptions): Promise<Session> {
  const { weights, profilePath, disabledOptimizers } = options;
  if (profilePath !== undefined || disabledOptimizers !== undefined) {
    throw new InputError(`${graph.name}: profiles and disabled optimizers are not there in a browser`);
  }
  const externalData: { path: string; data: Uint8Array }[] = [];
  for (const parameter of graph.parameters) {
    const { name, value } = parameter;
    const { data } = zeros(value.dtype, concreteShape(value.shape, new Map(), name));
    await weights(parameter, data);
    externalData.push({ path: name, data: bytesOf(data) });
  }
  try {
    const model = emitModel(graph, (name) => name);
    return wrapSession(graph, await InferenceSession.create(model, { executionProviders: ['wasm'], externalData }));
  } catch (cause) {
    throw new RuntimeUnavailableError(`${graph.name}: WebAssembly did not take it: ${messageOf(cause)}`, { cause });
  }
}
