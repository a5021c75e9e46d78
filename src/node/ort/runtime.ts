import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { itemSize } from '../../core/dtype.js';
import { InputError, messageOf, RuntimeUnavailableError } from '../../core/errors.js';
import { createQueue, type Queue } from '../../core/queue.js';
import { sizeOf } from '../../core/tensor.js';
import type { Graph, Parameter } from '../../graph/builder.js';
import { emitModel } from '../../onnx/emit.js';
import { concreteShape } from '../../runtime/bind-shapes.js';
import type { CompileOptions, Device, Runtime, Session } from '../../runtime/runtime.js';
import { loadOrt, type Pointer } from './library.js';
import { allocateOutside, type BoundTensor, nativeTensor, returnFreedMemory } from './memory.js';
import { type NativeSession, openSession } from './session.js';

export interface RuntimeOptions {
  readonly device?: Device;
  /** Threads one operator may use; default: the machine's cores. */
  readonly threads?: number;
}

/** The execution provider of each device, as GetAvailableProviders and as AppendExecutionProvider name it. */
const providers: Readonly<Record<Exclude<Device, 'cpu'>, { readonly listed: string; readonly name: string }>> = {
  cuda: { listed: 'CUDAExecutionProvider', name: 'CUDA' },
  webgpu: { listed: 'WebGpuExecutionProvider', name: 'WebGPU' },
};

/** ONNX Runtime has one environment and one global thread pool per process; the first runtime sizes it. */
interface Environment {
  readonly handle: Pointer;
  readonly threads: number;
  readonly queue: Queue;
  /** Threads of the pool, where the system numbers threads as it does processes. */
  readonly pool: readonly number[];
}
let environment: Environment | undefined;

function ensureEnvironment(threads: number): Environment {
  if (environment) return environment;
  const ort = loadOrt();
  const threading = ort.create('CreateThreadingOptions');
  ort.call.SetGlobalIntraOpNumThreads(threading, threads);
  ort.call.SetGlobalSpinControl(threading, 1);
  const before = new Set(threadIds());
  // Log level 4, fatal: errors come back as statuses.
  const handle = ort.create('CreateEnvWithGlobalThreadPools', 4, 'varyclip', threading);
  ort.call.ReleaseThreadingOptions(threading);
  const pool = threadIds().filter((id) => !before.has(id));
  environment = { handle, threads, queue: createQueue(), pool };
  return environment;
}

/** This process's threads; none where the system does not list them. */
function threadIds(): number[] {
  if (process.platform !== 'linux') return [];
  try {
    return readdirSync('/proc/self/task').map(Number);
  } catch {
    return [];
  }
}

/** Threads of ONNX Runtime's pool, where the system numbers threads as it does processes. */
export const poolThreads = (): readonly number[] => environment?.pool ?? [];

/** A runtime on this machine. Throws RuntimeUnavailableError where the device is not there: there is no fallback. */
export function createRuntime({ device = 'cpu', threads = availableParallelism() }: RuntimeOptions = {}): Runtime {
  if (!Number.isInteger(threads) || threads < 1)
    throw new InputError(`threads: expected a whole number above 0, got ${threads}`);
  requireDevice(device, threads);
  return {
    device,
    threads,
    runsAtOnce: threads > 1 && threads >= availableParallelism() ? 2 * threads : threads,
    compile: (graph, options) => compile(graph, options, device, threads),
    allocate: (dtype, length) => allocateOutside(dtype, length) as never,
  };
}

function requireDevice(device: Device, threads: number): void {
  if (device === 'cpu') return;
  const ort = loadOrt();
  if (!(device in providers)) throw new InputError(`device: expected cpu, cuda or webgpu, got ${device}`);
  if (!ort.providers.includes(providers[device].listed)) {
    throw new RuntimeUnavailableError(
      `device ${device}: this ONNX Runtime ${ort.version} has only ${ort.providers.join(', ')}; run: varyclip doctor`,
    );
  }
  tryProvider(device, threads);
}

/** Tries the provider on options that are thrown away: what it needs is found out here, not at the first model. */
function tryProvider(device: Exclude<Device, 'cpu'>, threads: number): void {
  const ort = loadOrt();
  // Providers log while they start: the environment must exist.
  ensureEnvironment(threads);
  const options = ort.create('CreateSessionOptions');
  try {
    addProvider(options, device);
  } finally {
    ort.call.ReleaseSessionOptions(options);
  }
}

/** Throws RuntimeUnavailableError where the provider, or a library that it needs, does not load. */
function addProvider(options: Pointer, device: Exclude<Device, 'cpu'>): void {
  const { call, create } = loadOrt();
  try {
    if (device === 'cuda') {
      const cuda = create('CreateCUDAProviderOptions');
      try {
        call.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda);
      } finally {
        call.ReleaseCUDAProviderOptions(cuda);
      }
    } else call.SessionOptionsAppendExecutionProvider(options, providers[device].name, [], [], 0);
  } catch (cause) {
    const reason = messageOf(cause).split('\n')[0];
    throw new RuntimeUnavailableError(`device ${device}: its provider does not load: ${reason}; run: varyclip doctor`, {
      cause,
    });
  }
}

/** Bytes of weights whose packing leaves enough behind to be worth some milliseconds. */
const worthReturning = 1 << 23;

const weightBytes = ({ parameters }: Graph): number =>
  parameters.reduce((sum, { value: { dtype, shape } }) => sum + sizeOf(shape.map(Number)) * itemSize(dtype), 0);

async function compile(graph: Graph, options: CompileOptions, device: Device, threads: number): Promise<Session> {
  const ort = loadOrt();
  const env = ensureEnvironment(threads);
  const sessionOptions = ort.create('CreateSessionOptions');
  const weights: BoundTensor[] = [];
  try {
    const own = options.threads ?? threads;
    const pooled = options.threads === undefined && env.threads === threads;
    configure(sessionOptions, options, device, pooled ? undefined : own);
    for (const parameter of graph.parameters) weights.push(await loadWeight(parameter, options));
    if (weights.length > 0) {
      const names = graph.parameters.map(({ name }) => name);
      ort.call.AddExternalInitializers(
        sessionOptions,
        names,
        weights.map(({ value }) => value),
        weights.length,
      );
    }
    const model = emitModel(graph);
    const native = await ort.createAsync('CreateSessionFromArray', env.handle, model, model.length, sessionOptions);
    const shared: NativeSession = {
      graph,
      native,
      releaseAfterRun: options.releaseAfterRun ?? false,
      queue: () => (options.threads === undefined ? env.queue : createQueue()),
      release: () => {
        if (options.profilePath !== undefined) endProfiling(native);
        ort.call.ReleaseSession(native);
      },
      users: 0,
    };
    return openSession(shared);
  } finally {
    ort.call.ReleaseSessionOptions(sessionOptions);
    for (const weight of weights) weight.release();
    if (weightBytes(graph) > worthReturning) await returnFreedMemory();
  }
}

function configure(
  sessionOptions: Pointer,
  { profilePath, disabledOptimizers = [] }: CompileOptions,
  device: Device,
  ownThreads: number | undefined,
): void {
  const { call } = loadOrt();
  // Another thread count than the process's pool has: a pool of the session's own.
  if (ownThreads === undefined) call.DisablePerSessionThreads(sessionOptions);
  else call.SetIntraOpNumThreads(sessionOptions, ownThreads);
  if (disabledOptimizers.length > 0) {
    const key = 'optimization.disable_specified_optimizers';
    call.AddSessionConfigEntry(sessionOptions, key, disabledOptimizers.join(';'));
  }
  if (profilePath !== undefined) call.EnableProfiling(sessionOptions, profilePath);
  if (device !== 'cpu') addProvider(sessionOptions, device);
}

async function loadWeight(parameter: Parameter, { weights }: CompileOptions): Promise<BoundTensor> {
  const { name, value } = parameter;
  const tensor = nativeTensor({ dtype: value.dtype, shape: concreteShape(value.shape, new Map(), name) });
  try {
    await weights(parameter, tensor.data);
    return tensor;
  } catch (error) {
    tensor.release();
    throw error;
  }
}

function endProfiling(native: Pointer): void {
  const ort = loadOrt();
  const allocator = ort.create('GetAllocatorWithDefaultOptions');
  const path = ort.create('SessionEndProfiling', native, allocator);
  ort.call.AllocatorFree(allocator, path);
}
