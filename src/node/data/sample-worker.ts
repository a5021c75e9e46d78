/** The body of a worker thread: prepares the samples it is sent. */
import { parentPort, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../core/errors.js';
import type { ConversationRecord } from '../../data/conversations.js';
import { type PreparedSample, prepareSample } from '../../data/sample.js';
import { openSampleOptions, type SamplePlan } from './sample-options.js';

export interface SampleJob {
  readonly id: number;
  readonly record: ConversationRecord;
  readonly globalIndex: number;
}

/** `problem`: the sample is broken; `failure`: this program is. */
export type SampleResult = { readonly id: number } & (
  | { readonly sample: PreparedSample }
  | { readonly problem: string }
  | { readonly failure: string }
);

if (parentPort) {
  const port = parentPort;
  const options = openSampleOptions(workerData as SamplePlan);
  port.on('message', async ({ id, record, globalIndex }: SampleJob) => {
    try {
      const sample = await prepareSample(record, globalIndex, options);
      const buffers = [...sample.pixels, ...sample.clipPixels].map(({ data }) => data.buffer as ArrayBuffer);
      port.postMessage({ id, sample } satisfies SampleResult, buffers);
    } catch (error) {
      const kind = error instanceof InputError ? 'problem' : 'failure';
      port.postMessage({ id, [kind]: kind === 'problem' ? messageOf(error) : String((error as Error).stack ?? error) });
    }
  });
}
