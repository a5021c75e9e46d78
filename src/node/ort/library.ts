import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import koffi, { type KoffiFunc, type LibraryHandle } from 'koffi';
import { messageOf, RuntimeUnavailableError } from '../../core/errors.js';
import { ffi } from '../ffi.js';

/**
 * ONNX Runtime's C API by FFI. OrtApi is a struct of function pointers whose order never changes (onnxruntime_c_api.h);
 * the numbers below are places in it. Every function but the listed exceptions returns an OrtStatus*, null for success.
 */
const functions = {
  CreateSessionFromArray: [8, 'void* env, void* model, size_t length, void* options, _Out_ void** out'],
  CreateSessionOptions: [10, '_Out_ void** out'],
  EnableProfiling: [14, 'void* options, path prefix'],
  DisableMemPattern: [17, 'void* options'],
  SetIntraOpNumThreads: [24, 'void* options, int threads'],
  CreateRunOptions: [39, '_Out_ void** out'],
  RunOptionsSetTerminate: [46, 'void* options'],
  CreateTensorWithDataAsOrtValue: [
    49,
    'void* info, void* data, size_t bytes, int64_t* shape, size_t rank, int type, _Out_ void** out',
  ],
  CreateCpuMemoryInfo: [69, 'int allocator, int memory, _Out_ void** out'],
  AllocatorFree: [76, 'void* allocator, void* memory'],
  GetAllocatorWithDefaultOptions: [78, '_Out_ void** out'],
  SessionEndProfiling: [110, 'void* session, void* allocator, _Out_ void** out'],
  CreateEnvWithGlobalThreadPools: [119, 'int level, const char* id, void* threading, _Out_ void** out'],
  DisablePerSessionThreads: [120, 'void* options'],
  CreateThreadingOptions: [121, '_Out_ void** out'],
  AddSessionConfigEntry: [130, 'void* options, const char* key, const char* value'],
  RunWithBinding: [133, 'void* session, void* options, void* binding'],
  CreateIoBinding: [134, 'void* session, _Out_ void** out'],
  BindInput: [136, 'void* binding, const char* name, void* value'],
  BindOutput: [137, 'void* binding, const char* name, void* value'],
  SetGlobalIntraOpNumThreads: [147, 'void* threading, int threads'],
  SetGlobalSpinControl: [149, 'void* threading, int allow'],
  AddRunConfigEntry: [165, 'void* options, const char* key, const char* value'],
  AddExternalInitializers: [210, 'void* options, const char** names, void** values, size_t count'],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, 'void* options, void* cuda'],
  CreateCUDAProviderOptions: [205, '_Out_ void** out'],
  SessionOptionsAppendExecutionProvider: [
    216,
    'void* options, const char* provider, const char** keys, const char** values, size_t count',
  ],
} as const;

const releases = {
  ReleaseStatus: 93,
  ReleaseValue: 96,
  ReleaseRunOptions: 97,
  ReleaseSession: 95,
  ReleaseSessionOptions: 100,
  ReleaseThreadingOptions: 122,
  ReleaseIoBinding: 135,
  ReleaseCUDAProviderOptions: 208,
} as const;

/** An opaque native address. Null is never one. */
export type Pointer = { readonly pointer: unique symbol };
type Call = (...args: unknown[]) => void;

/** Each function throws on a failed status, so callers read straight down. */
export type OrtFunctions = { readonly [K in keyof typeof functions]: Call } & {
  readonly [K in keyof typeof releases]: (handle: Pointer) => void;
};

export interface OrtLibrary {
  readonly path: string;
  readonly version: string;
  readonly call: OrtFunctions;
  /** Calls a function whose last argument receives a handle, and returns the handle. */
  create(name: keyof typeof functions, ...args: unknown[]): Pointer;
  /** A call on a thread of libuv's pool: what takes long. Arguments must stay alive until it is settled. */
  callAsync(name: keyof typeof functions, ...args: unknown[]): Promise<void>;
  /** The same for a function whose last argument receives a handle. */
  createAsync(name: keyof typeof functions, ...args: unknown[]): Promise<Pointer>;
  /** The execution providers the library was built with, in its own names; their own libraries may be missing. */
  readonly providers: readonly string[];
  readString(pointer: Pointer): string;
}

/** The API version asked for: that of onnxruntime 1.26, which every later library still answers. */
const apiVersion = 26;

const fileNames: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'libonnxruntime.so.1',
  darwin: 'libonnxruntime.1.dylib',
  win32: 'onnxruntime.dll',
};

/** Where the onnxruntime-node package keeps its library for this machine. */
function libraryPath(): string {
  const file = fileNames[process.platform];
  const home = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  const path = join(home, 'bin', 'napi-v6', process.platform, process.arch, file ?? '');
  if (!file || !existsSync(path)) {
    throw new RuntimeUnavailableError(
      `ONNX Runtime: onnxruntime-node has no library for ${process.platform} ${process.arch} (looked for ${path})`,
    );
  }
  return path;
}

let loaded: OrtLibrary | undefined;

/** Loads ONNX Runtime's library, once per process. Throws RuntimeUnavailableError where there is none for the machine. */
export function loadOrt(): OrtLibrary {
  loaded ??= bindLibrary(libraryPath());
  return loaded;
}

function bindLibrary(path: string): OrtLibrary {
  // It reads this when its environment is made. Its telemetry would send what is run here, and matches the whole command line
  // with a recursive expression first: a few thousand file names overflow the stack.
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
  ffi();
  const { table, version } = openApi(path);
  const native: Native = (index, result, args) => {
    const pathType = process.platform === 'win32' ? 'const char16_t*' : 'const char*';
    const prototype = koffi.proto(`${result} ort_${index}(${args.replace(/\bpath\b/, pathType)})`);
    return koffi.decode(table[index], prototype);
  };
  const errorMessage = native(2, 'const char*', 'void* status') as unknown as (status: unknown) => string;
  const releaseStatus = native(releases.ReleaseStatus, 'void', 'void* status') as (status: unknown) => void;
  const check = (name: string, status: unknown) => {
    if (status === null || status === 0 || status === 0n) return;
    const message = errorMessage(status);
    releaseStatus(status);
    throw new Error(`ONNX Runtime ${name}: ${message}`);
  };
  const call: Record<string, Call> = {};
  const bound = new Map<string, KoffiFunc<Call>>();
  for (const [name, [index, args]] of Object.entries(functions)) {
    const fn = native(index, 'void*', args);
    bound.set(name, fn);
    call[name] = (...given) => check(name, fn(...given));
  }
  for (const [name, index] of Object.entries(releases)) {
    call[name] = name === 'ReleaseStatus' ? releaseStatus : (native(index, 'void', 'void* handle') as Call);
  }
  const create: OrtLibrary['create'] = (name, ...args) => {
    const out = [null] as unknown as [Pointer];
    call[name](...args, out);
    return out[0];
  };
  const callAsync: OrtLibrary['callAsync'] = (name, ...args) =>
    new Promise((resolve, reject) => {
      bound.get(name)?.async(...args, (error: unknown, status: unknown) => {
        try {
          if (error) throw error;
          check(name, status);
          resolve();
        } catch (cause) {
          reject(cause as Error);
        }
      });
    });
  return {
    path,
    version,
    call: call as unknown as OrtFunctions,
    create,
    providers: availableProviders(native, check),
    readString: (pointer) => koffi.decode.string(pointer),
    callAsync,
    createAsync: async (name, ...args) => {
      const out = [null] as unknown as [Pointer];
      await callAsync(name, ...args, out);
      return out[0];
    },
  };
}

/** koffi unloads a library when its handle is collected, and every function pointer with it: this one stays. */
let handle: LibraryHandle | undefined;

function openApi(path: string): { table: unknown[]; version: string } {
  let base: unknown;
  try {
    handle = koffi.load(path);
    base = handle.func('void* OrtGetApiBase()')();
  } catch (cause) {
    throw new RuntimeUnavailableError(`ONNX Runtime: cannot load ${path}: ${messageOf(cause)}`, { cause });
  }
  const [getApi, getVersion] = koffi.decode(base, koffi.array('void*', 2)) as unknown[];
  const version = koffi.call(getVersion, koffi.proto('const char* ort_version()')) as string;
  const api = koffi.call(getApi, koffi.proto('void* ort_get_api(uint32_t version)'), apiVersion) as unknown;
  if (!api) {
    throw new RuntimeUnavailableError(
      `ONNX Runtime ${version} at ${path} is older than this package needs (1.${apiVersion})`,
    );
  }
  return { table: koffi.decode(api, koffi.array('void*', 260)) as unknown[], version };
}

type Native = (index: number, result: string, args: string) => KoffiFunc<Call>;

function availableProviders(native: Native, check: (name: string, status: unknown) => void): readonly string[] {
  const get = native(125, 'void*', '_Out_ void** names, _Out_ int* count') as (...args: unknown[]) => unknown;
  const release = native(126, 'void*', 'void* names, int count') as (...args: unknown[]) => unknown;
  const [names, count]: [unknown[], number[]] = [[null], [0]];
  check('GetAvailableProviders', get(names, count));
  const found = koffi.decode(names[0], koffi.array('const char*', count[0])) as string[];
  check('ReleaseAvailableProviders', release(names[0], count[0]));
  return found;
}
