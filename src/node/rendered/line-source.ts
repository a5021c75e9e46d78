import { Worker } from 'node:worker_threads';
import { InputError, VaryclipError } from '../../core/errors.js';
import type { RenderedLine } from '../../data/rendered/line.js';
import type { LineBatch, LineBatchPlan, LineStage } from './line-batches.js';

export interface LineSourceOptions {
  readonly seed: number;
  /** Threads that render; 1 makes several hundred lines a second. */
  readonly workers?: number;
  readonly batchSize?: number;
  /** Batches whose lines are sorted by width together. */
  readonly bucket?: number;
  /** The curriculum: a stage holds for every group of batches that begins at or after `fromBatch`. */
  readonly stages?: readonly LineStage[];
  /** The first batch, for going on where a run stopped. */
  readonly start?: number;
  /** How many batches on the next one is: with several processes each takes its own. Default 1. */
  readonly stride?: number;
}

/** An endless source of batches of rendered lines, made ahead of need in worker threads. */
export interface LineSource {
  /** The next batch, in order of index. */
  next(): Promise<LineBatch>;
  /** Time spent so far waiting in `next`, in milliseconds. */
  readonly waited: number;
  dispose(): Promise<void>;
}

type Answer = { group: number; lines: RenderedLine[]; error?: undefined } | { group: number; error: string };

interface Pending {
  readonly promise: Promise<readonly RenderedLine[]>;
  settle(answer: Answer): void;
}

function pendingGroup(): Pending {
  let settle: Pending['settle'] = () => {};
  const promise = new Promise<readonly RenderedLine[]>((resolve, reject) => {
    settle = (answer) => {
      if (answer.error === undefined) resolve(answer.lines);
      else reject(new VaryclipError(`rendered text, group ${answer.group}: ${answer.error}`));
    };
  });
  // A group that fails is reported by the `next` that asks for it.
  promise.catch(() => {});
  return { promise, settle };
}

/** Starts the threads. Batch i is a function of (seed, i), `batchSize`, `bucket` and `stages`: not of workers, start or time. */
export function createLineSource({
  seed,
  workers = 1,
  batchSize = 16,
  bucket = 8,
  stages = [{ fromBatch: 0 }],
  start = 0,
  stride = 1,
}: LineSourceOptions): LineSource {
  if (stages.length === 0 || batchSize < 1 || bucket < 1 || workers < 1 || start < 0) {
    throw new InputError('rendered text: expected a stage, and at least 1 for workers, batchSize and bucket');
  }
  const ahead = workers * 2;
  const pending = new Map<number, Pending>();
  const threads = Array.from({ length: workers }, () => new Worker(new URL('./line-worker.js', import.meta.url)));
  const fail = (error: string) => {
    for (const [group, each] of pending) each.settle({ group, error });
  };
  for (const thread of threads) {
    thread.on('message', (answer: Answer) => {
      if (answer.group < 0) fail(answer.error ?? '');
      else pending.get(answer.group)?.settle(answer);
    });
    thread.on('error', (error) => fail(error.message));
    thread.unref();
  }
  const request = (group: number): Pending => {
    let found = pending.get(group);
    if (!found) {
      found = pendingGroup();
      pending.set(group, found);
      const plan: LineBatchPlan = { seed, group, batchSize, bucket, stages };
      threads[group % workers].postMessage(plan);
    }
    return found;
  };
  let index = start;
  let waited = 0;
  for (let i = 0; i < ahead; i++) request(Math.floor(start / bucket) + i);
  return {
    get waited() {
      return waited;
    },
    async next() {
      const mine = index;
      index += stride;
      const group = Math.floor(mine / bucket);
      const began = performance.now();
      for (const thread of threads) thread.ref();
      const lines = await request(group).promise;
      for (const thread of threads) thread.unref();
      waited += performance.now() - began;
      const at = (mine % bucket) * batchSize;
      for (const old of pending.keys()) if (old < Math.floor(index / bucket)) pending.delete(old);
      for (let i = 1; i <= ahead; i++) request(Math.floor(index / bucket) + i - 1);
      return { index: mine, lines: lines.slice(at, at + batchSize) };
    },
    async dispose() {
      fail('the source was disposed');
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}
