import { Worker } from 'node:worker_threads';
import { InputError, VaryclipError } from '../../core/errors.js';
import type { ConversationRecord } from '../../data/conversations.js';
import { type PreparedSample, prepareSample } from '../../data/sample.js';
import { openSampleOptions, type SamplePlan } from './sample-options.js';
import type { SampleJob, SampleResult } from './sample-worker.js';

/** Prepares samples, in this thread or in others. */
export interface SamplePool {
  readonly padId: number;
  /** Throws InputError for a broken sample. */
  prepare(record: ConversationRecord, globalIndex: number): Promise<PreparedSample>;
  dispose(): Promise<void>;
}

interface Waiting {
  readonly job: SampleJob;
  readonly resolve: (sample: PreparedSample) => void;
  readonly reject: (error: Error) => void;
}

/** A pool of `workers` threads; with 0 samples are prepared in this one. The results do not depend on the number. */
export function createSamplePool(plan: SamplePlan, workers: number): SamplePool {
  if (!Number.isInteger(workers) || workers < 0) {
    throw new InputError(`workers: expected a whole number from 0, got ${workers}`);
  }
  // Also with workers: a wrong checkpoint is this thread's error, at once.
  const options = openSampleOptions(plan);
  const padId = options.tokenizer.special.pad ?? 1;
  if (workers === 0) {
    return { padId, prepare: (record, index) => prepareSample(record, index, options), dispose: async () => undefined };
  }
  return { padId, ...createThreads(plan, workers) };
}

/** Samples a thread works on at once: one is decoded, outside of JavaScript, while another is resized. */
const jobsPerThread = 2;

function createThreads(plan: SamplePlan, count: number): Omit<SamplePool, 'padId'> {
  const queue: Waiting[] = [];
  const running = new Map<number, Waiting>();
  /** A thread stands here once for every job it could take. */
  const free: Worker[] = [];
  let nextId = 0;
  let broken: Error | undefined;
  const feed = () => {
    while (queue.length > 0 && free.length > 0) {
      const [worker, waiting] = [free.shift() as Worker, queue.shift() as Waiting];
      running.set(waiting.job.id, waiting);
      worker.ref();
      worker.postMessage(waiting.job);
    }
  };
  const fail = (error: Error) => {
    broken ??= error;
    for (const { reject } of [...queue.splice(0), ...running.values()]) reject(broken);
    running.clear();
  };
  const threads = Array.from({ length: count }, () => {
    const worker = new Worker(new URL('./sample-worker.js', import.meta.url), { workerData: plan });
    worker.on('message', (result: SampleResult) => {
      const waiting = running.get(result.id);
      running.delete(result.id);
      free.push(worker);
      // An idle thread does not keep the process alive.
      if (free.filter((other) => other === worker).length === jobsPerThread) worker.unref();
      if (waiting) settle(waiting, result);
      feed();
    });
    worker.on('error', (cause: unknown) => fail(new VaryclipError('data: a worker thread failed', { cause })));
    worker.on('exit', () => fail(new VaryclipError('data: a worker thread ended')));
    worker.unref();
    return worker;
  });
  for (let job = 0; job < jobsPerThread; job++) free.push(...threads);
  return {
    prepare: (record, globalIndex) =>
      new Promise((resolve, reject) => {
        if (broken) return reject(broken);
        queue.push({ job: { id: nextId++, record, globalIndex }, resolve, reject });
        feed();
      }),
    dispose: async () => {
      broken ??= new InputError('data: this source was disposed');
      await Promise.all(threads.map((worker) => worker.terminate()));
    },
  };
}

function settle({ resolve, reject }: Waiting, result: SampleResult): void {
  if ('sample' in result) resolve(result.sample);
  else if ('problem' in result) reject(new InputError(result.problem));
  else reject(new VaryclipError(`data: ${result.failure}`));
}
