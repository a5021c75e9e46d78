import type { LoadOptions } from '../node/load-model.js';
import type { Arguments } from './arguments.js';

/** What `--threads`, `--device`, `--precision` and `--tower-precision` say of how a model is loaded. */
export function loadOptionsOf(args: Arguments): LoadOptions {
  const [threads, device, precision, towerPrecision] = [
    args.count('threads'),
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
