import { createWorkerPool, ownMemory } from '../node/worker-pool.js';
import type { BodyJob } from './body-worker.js';
import type { ServerLimits } from './limits.js';
import { type ImageForm, readJson } from './parse-body.js';
import type { ClassifyRequest, RequestFields, RequestOf } from './schemas.js';

/** Reads bodies, large ones on a thread: the event loop goes on. Bytes are handed over, and gone afterwards. */
export interface BodyReader {
  /** Throws InputError for what the field does not read, TimeLimitError, ThreadEndedError. */
  json<K extends keyof RequestFields>(name: K, bytes: Uint8Array): Promise<RequestOf<K>>;
  /** The image of a form and what it says under `names`. */
  form(type: string, names: readonly string[], bytes: Uint8Array): Promise<ImageForm>;
  /** A form that asks for a classification. */
  classifyForm(type: string, bytes: Uint8Array): Promise<ClassifyRequest>;
  dispose(): Promise<void>;
}

/** From this size on a body is worth another thread. */
const largeBody = 64 << 10;

export function createBodyReader(fields: RequestFields, limits: ServerLimits): BodyReader {
  const pool = createWorkerPool<BodyJob, object>({
    module: new URL('./body-worker.js', import.meta.url),
    data: limits,
    threads: 1,
    jobsPerThread: 1,
    name: 'body',
    timeLimit: limits.parseSeconds,
  });
  const run = (job: BodyJob) => pool.run(job, ownMemory([job.bytes]));
  return {
    json: async <K extends keyof RequestFields>(name: K, bytes: Uint8Array) => {
      const read =
        bytes.length < largeBody ? readJson<object>(bytes, fields[name]) : run({ kind: 'json', bytes, name });
      return (await read) as RequestOf<K>;
    },
    form: async (type, names, bytes) => (await run({ kind: 'form', bytes, type, names })) as ImageForm,
    classifyForm: async (type, bytes) => (await run({ kind: 'classify form', bytes, type })) as ClassifyRequest,
    dispose: pool.dispose,
  };
}
