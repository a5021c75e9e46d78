import { InputError } from '../../core/errors.js';
import type { ConversationRecord } from '../../data/conversations.js';
import { type PreparedSample, prepareSample } from '../../data/sample.js';
import { createWorkerPool } from '../worker-pool.js';
import { openSampleOptions, type SamplePlan } from './sample-options.js';
import type { SampleJob } from './sample-worker.js';

/** Prepares samples, in this thread or in others. */
export interface SamplePool {
  readonly padId: number;
  /** Throws InputError for a broken sample. */
  prepare(record: ConversationRecord, globalIndex: number): Promise<PreparedSample>;
  dispose(): Promise<void>;
}

/** Samples a thread works on at once: one is decoded, outside of JavaScript, while another is resized. */
const jobsPerThread = 2;

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
  const { run, dispose } = createWorkerPool<SampleJob, PreparedSample>({
    module: new URL('./sample-worker.js', import.meta.url),
    data: plan,
    threads: workers,
    jobsPerThread,
    name: 'data',
  });
  return { padId, prepare: (record, globalIndex) => run({ record, globalIndex }), dispose };
}
