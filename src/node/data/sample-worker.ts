/** The body of a worker thread: prepares the samples it is sent. */
import { parentPort, workerData } from 'node:worker_threads';
import type { ConversationRecord } from '../../data/conversations.js';
import { type PreparedSample, prepareSample } from '../../data/sample.js';
import { serveJobs } from '../worker-pool.js';
import { openSampleOptions, type SamplePlan } from './sample-options.js';

export interface SampleJob {
  readonly record: ConversationRecord;
  readonly globalIndex: number;
}

if (parentPort) {
  const options = openSampleOptions(workerData as SamplePlan);
  serveJobs<SampleJob, PreparedSample>(
    ({ record, globalIndex }) => prepareSample(record, globalIndex, options),
    ({ pixels, clipPixels }) => [...pixels, ...clipPixels].map(({ data }) => data.buffer as ArrayBuffer),
  );
}
