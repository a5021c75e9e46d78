import { InputError } from '../core/errors.js';

/** One of several processes that share a job. */
export interface Shard {
  readonly rank: number;
  readonly size: number;
  /** Who says so. */
  readonly from: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Launchers, and what they call a process's number and how many there are. */
const launchers = [
  { from: 'Open MPI', rank: 'OMPI_COMM_WORLD_RANK', size: 'OMPI_COMM_WORLD_SIZE' },
  { from: 'MPI', rank: 'PMI_RANK', size: 'PMI_SIZE' },
  // A step's own variables: those of the job are set in its batch script too, which is one process.
  { from: 'Slurm', rank: 'SLURM_PROCID', size: 'SLURM_STEP_NUM_TASKS' },
] as const;

/** A launcher's variable. `Number` would take an empty one for 0. */
function numberIn(environment: Environment, name: string): number {
  const text = environment[name] ?? '';
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InputError(`${name}: expected a whole number from 0, got ${JSON.stringify(text.slice(0, 40))}`);
}

/**
 * Which share of a job is this process's: said outright, or by the launcher (mpirun, srun, a Kubernetes Indexed Job with `shards`).
 * Throws InputError for a share that cannot be.
 */
export function shardOf(environment: Environment, { shard, shards }: { shard?: number; shards?: number } = {}): Shard {
  const checked = (rank: number, size: number, from: string): Shard => {
    if (Number.isInteger(rank) && Number.isInteger(size) && rank >= 0 && rank < size) return { rank, size, from };
    throw new InputError(`${from}: expected a rank from 0 below the number of processes, got ${rank} of ${size}`);
  };
  if (shard !== undefined) {
    if (shards === undefined) throw new InputError('--shard: say how many there are: --shards N');
    return checked(shard, shards, '--shard');
  }
  const launched = launchers.find(
    ({ rank, size }) => environment[rank] !== undefined && environment[size] !== undefined,
  );
  if (launched) {
    const { from, rank, size } = launched;
    const found = checked(numberIn(environment, rank), numberIn(environment, size), from);
    if (shards !== undefined && shards !== found.size) {
      throw new InputError(`--shards ${shards}: ${from} started ${found.size} processes`);
    }
    return found;
  }
  const index = environment['JOB_COMPLETION_INDEX'];
  if (index !== undefined && shards !== undefined) {
    return checked(numberIn(environment, 'JOB_COMPLETION_INDEX'), shards, 'JOB_COMPLETION_INDEX');
  }
  if (index !== undefined) throw new InputError('JOB_COMPLETION_INDEX is set: say how many there are: --shards N');
  if (shards !== undefined && shards > 1) throw new InputError('--shards: say which one this is: --shard R');
  return { rank: 0, size: 1, from: 'one process' };
}
