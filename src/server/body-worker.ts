/** The body of a worker thread: reads bodies that would stop the event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { ownMemory, serveJobs } from '../node/worker-pool.js';
import type { ServerLimits } from './limits.js';
import { readClassifyForm, readForm, readJson } from './parse-body.js';
import { type RequestFields, requestFields } from './schemas.js';

export type BodyJob =
  | { readonly kind: 'json'; readonly bytes: Uint8Array; readonly name: keyof RequestFields }
  | { readonly kind: 'form'; readonly bytes: Uint8Array; readonly type: string; readonly names: readonly string[] }
  | { readonly kind: 'classify form'; readonly bytes: Uint8Array; readonly type: string };

/** The arrays in a value that was read: pictures. */
function arraysIn(value: unknown): Uint8Array[] {
  if (value instanceof Uint8Array) return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(arraysIn) : [];
}

if (parentPort) {
  const fields = requestFields(workerData as ServerLimits);
  const read = async (job: BodyJob): Promise<object> => {
    switch (job.kind) {
      case 'json':
        return readJson<object>(job.bytes, fields[job.name]);
      case 'form':
        return readForm(job.bytes, job.type, job.names);
      case 'classify form':
        return readClassifyForm(job.bytes, job.type, fields.classify);
    }
  };
  serveJobs<BodyJob, object>(read, (result) => ownMemory(arraysIn(result)));
}
