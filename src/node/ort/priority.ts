import { getPriority, setPriority } from 'node:os';
import { libcFunction } from '../ffi.js';
import { poolThreads } from './runtime.js';

/** Three quarters of a core against one quarter, in Linux's weights. */
const behind = 5;
/** Of libuv's pool, where nothing else is said. */
const usualThreads = 4;
/** How often its threads are asked who they are: whichever is free answers. */
const [rounds, questions] = [20, 16];

/** Threads of libuv's pool, on which runs wait or are made: those that answered. */
async function libuvThreads(): Promise<Set<number>> {
  const found = new Set<number>();
  const gettid = libcFunction<() => number>('int gettid()');
  if (!gettid) return found;
  const count = Number(process.env['UV_THREADPOOL_SIZE']) || usualThreads;
  const ask = () =>
    new Promise<void>((resolve) => {
      gettid.async((_: unknown, id: number) => resolve(void found.add(id)));
    });
  for (let round = 0; round < rounds && found.size < count; round++) {
    await Promise.all(Array.from({ length: questions }, ask));
  }
  return found;
}

/**
 * Lets the event loop, and threads that prepare pictures, go before those that compute, for who has to answer or to hand out work meanwhile:
 * between operators ONNX Runtime's threads wait in a loop, and take half of a core from a server that collects garbage or takes a
 * request; lanes stand still until they are given their next run. ONNX Runtime's pool is there once a model was compiled. Linux only;
 * elsewhere nothing changes.
 */
export async function putThreadsBehindEventLoop(): Promise<void> {
  for (const thread of [...poolThreads(), ...(await libuvThreads())]) {
    try {
      setPriority(thread, Math.min(19, getPriority() + behind));
    } catch {
      // A system that forbids it: threads stay equal.
    }
  }
}
