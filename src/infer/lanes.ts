import type { CompileOptions, Runtime, Session } from '../runtime/runtime.js';

/** Lanes at most: each has a run under way, and they share the threads that wait for runs. */
const mostLanes = 4;

/** How runs of a small model go beside each other: of one thread each, that is quicker than one after another on all threads. */
export interface Lanes extends Pick<CompileOptions, 'threads'> {
  readonly count: number;
}

/** One run after another, on all threads. */
export const oneLane: Lanes = { count: 1 };

/** As many lanes as keep the processor busy, and the threads of their sessions. */
export function lanesOf({ device, threads, runsAtOnce }: Runtime): Lanes {
  const count = device === 'cpu' ? Math.min(runsAtOnce, mostLanes) : 1;
  // Of a pool, the threads that run for a lane are itself and those which no lane is.
  return count === 1 ? oneLane : { count, threads: Math.max(1, threads - count + 1) };
}

/** So many sessions beside one, for a lane each: their runs overlap where the runtime can, and what one lends stays its own. */
export const forksOf = (session: Session, count: number): Session[] =>
  Array.from({ length: count }, () => session.fork());
