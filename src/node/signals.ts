import { setMaxListeners } from 'node:events';

/**
 * A signal that fires with any of `signals`, for work of many parts that all listen to it: from the eleventh listener on Node would warn
 * of a leak.
 */
export function jobSignal(...signals: readonly AbortSignal[]): AbortSignal {
  const signal = AbortSignal.any([...signals]);
  setMaxListeners(0, signal);
  return signal;
}
