import { availableParallelism } from 'node:os';
import type { LoadOptions } from '../node/load-model.js';
import type { Arguments } from './arguments.js';

/**
 * How many threads an option asks for. Throws InputError for many more than there are cores: hundreds take all memory and time for
 * themselves, and nothing gets done. On a small machine some more than cores are of use where they wait for disks.
 */
export function threadsOf(args: Arguments, name: string): number | undefined {
  const cores = availableParallelism();
  const why = `more threads than cores (${cores} here) do not help`;
  return args.count(name, { to: Math.max(16, 4 * cores), why });
}

/** What `--threads`, `--device`, `--precision` and `--tower-precision` say of how a model is loaded. */
export function loadOptionsOf(args: Arguments): LoadOptions {
  const [threads, device, precision, towerPrecision] = [
    threadsOf(args, 'threads'),
    args.choice('device', ['cpu', 'cuda', 'webgpu']),
    args.choice('precision', ['float32', 'int8', 'int4']),
    args.choice('tower-precision', ['float32', 'int8']),
  ];
  return {
    ...(threads !== undefined && { threads }),
    ...(device && { device }),
    ...(precision && { precision }),
    ...(towerPrecision && { towerPrecision }),
  };
}
