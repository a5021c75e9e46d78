/**
 * A real MPI by FFI: Open MPI (4, 5) and MPICH's family (MPICH, Intel MPI, MVAPICH). Handles are addresses of the library's
 * globals in the first, numbers of its mpi.h in the second.
 */
import type { LibraryHandle } from 'koffi';
import { messageOf, RuntimeUnavailableError, VaryclipError } from '../core/errors.js';
import type { Peers } from '../train/peers.js';
import { ffi } from './ffi.js';

/** The other processes of an `mpirun`. */
export interface MpiPeers extends Peers {
  /** Waits for all, then leaves. Call once, at the end. */
  finish(): void;
  /** Ends all processes at once with this exit code: for a process that cannot go on. */
  abort(code: number): void;
}

type Handle = unknown;

interface Flavour {
  readonly names: readonly string[];
  readonly handleType: 'void *' | 'int';
  handles(library: LibraryHandle): {
    readonly world: Handle;
    readonly float32: Handle;
    readonly float64: Handle;
    readonly sum: Handle;
  };
  /** MPI_IN_PLACE */
  readonly inPlace: bigint;
}

const openMpi: Flavour = {
  names: ['libmpi.so.40', 'libmpi.40.dylib'],
  handleType: 'void *',
  handles: (library) => {
    const address = (name: string): Handle => library.symbol(name, 'char');
    return {
      world: address('ompi_mpi_comm_world'),
      float32: address('ompi_mpi_float'),
      float64: address('ompi_mpi_double'),
      sum: address('ompi_mpi_op_sum'),
    };
  },
  inPlace: 1n,
};

const mpich: Flavour = {
  names: ['libmpich.so.12', 'libmpi.so.12', 'libmpi.12.dylib'],
  handleType: 'int',
  handles: () => ({ world: 0x44000000, float32: 0x4c00040a, float64: 0x4c00080b, sum: 0x58000003 }),
  inPlace: -1n,
};

/** How many processes the launcher says there are, and whose launcher it is; undefined where this process was not launched so. */
function launchedBy(environment: Readonly<Record<string, string | undefined>>): Flavour | undefined {
  if (environment['OMPI_COMM_WORLD_SIZE'] !== undefined) return openMpi;
  if (environment['PMI_SIZE'] !== undefined || environment['MPI_LOCALNRANKS'] !== undefined) return mpich;
  return undefined;
}

/**
 * Joins the processes that `mpirun` (or a Slurm or Kubernetes launcher of the same MPI) started; undefined where it started none.
 * Throws RuntimeUnavailableError where the MPI library does not load.
 */
export function joinMpi(environment: Readonly<Record<string, string | undefined>> = process.env): MpiPeers | undefined {
  const flavour = launchedBy(environment);
  return flavour && join(flavour);
}

/** MPI_THREAD_FUNNELED: only this thread calls. */
const funneled = 1;
/** Elements of one call: its count is an int. */
const maxCount = 1 << 28;

function join(flavour: Flavour): MpiPeers {
  const library = loadFirst(flavour.names);
  const handle = flavour.handleType;
  const declare = (signature: string) => library.func(signature.replaceAll('HANDLE', handle));
  const init = declare('int MPI_Init_thread(void *, void *, int, _Out_ int *)');
  const finalize = declare('int MPI_Finalize()');
  const abort = declare('int MPI_Abort(HANDLE, int)');
  const rankOf = declare('int MPI_Comm_rank(HANDLE, _Out_ int *)');
  const sizeOf = declare('int MPI_Comm_size(HANDLE, _Out_ int *)');
  const allReduce = declare('int MPI_Allreduce(uintptr_t, void *, int, HANDLE, HANDLE, HANDLE)');
  const allGather = declare('int MPI_Allgather(void *, int, HANDLE, void *, int, HANDLE, HANDLE)');
  const check = (status: number, call: string) => {
    if (status !== 0) throw new VaryclipError(`${call} failed with code ${status}`);
  };
  const { world, float32, float64, sum } = flavour.handles(library);
  const number = (call: (out: number[]) => number, name: string) => {
    const out = [0];
    check(call(out), name);
    return out[0];
  };
  check(init(null, null, funneled, [0]), 'MPI_Init_thread');
  const rank = number((out) => rankOf(world, out), 'MPI_Comm_rank');
  const size = number((out) => sizeOf(world, out), 'MPI_Comm_size');
  return {
    rank,
    size,
    sum: (data) => {
      const type = data instanceof Float32Array ? float32 : float64;
      for (let at = 0; at < data.length; at += maxCount) {
        const part = data.subarray(at, at + maxCount);
        check(allReduce(flavour.inPlace, part, part.length, type, sum, world), 'MPI_Allreduce');
      }
    },
    gather: <T extends Float32Array | Float64Array>(data: T): T => {
      const [type, all] =
        data instanceof Float32Array
          ? [float32, new Float32Array(data.length * size)]
          : [float64, new Float64Array(data.length * size)];
      check(allGather(data, data.length, type, all, data.length, type, world), 'MPI_Allgather');
      return all as T;
    },
    finish: () => check(finalize(), 'MPI_Finalize'),
    abort: (code) => void abort(world, code),
  };
}

function loadFirst(names: readonly string[]): LibraryHandle {
  const reasons: string[] = [];
  for (const name of names) {
    try {
      // Global: Open MPI's plug-ins look for its symbols.
      return ffi().load(name, { global: true, lazy: true });
    } catch (error) {
      reasons.push(messageOf(error));
    }
  }
  throw new RuntimeUnavailableError(
    `mpi: none of ${names.join(', ')} loads (${reasons[0]}); on Debian and Ubuntu: apt-get install openmpi-bin libopenmpi3`,
  );
}
