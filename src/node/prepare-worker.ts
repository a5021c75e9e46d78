/** The body of a worker thread: makes the bytes of an image what a model takes. */
import { parentPort } from 'node:worker_threads';
import type { Tensor } from '../core/tensor.js';
import { type ClipProcessor, processClip } from '../image/clip-processor.js';
import { lookOf, memoryOf, type PreparedImage, type PrepareSettings, prepareImage } from '../infer/prepare.js';
import { decodeImage, decodeToRead, type ImageLimits } from './images.js';
import { ownMemory, serveJobs } from './worker-pool.js';

/** What the image is for: reading, or an embedding. */
export type PrepareJob = { readonly bytes: Uint8Array; readonly limits: ImageLimits } & (
  | { readonly reader: PrepareSettings }
  | { readonly processor: ClipProcessor }
);

export type Prepared = PreparedImage | { readonly kind: 'picture'; readonly pixels: Tensor<'float32'> };

async function prepare(job: PrepareJob): Promise<Prepared> {
  const { bytes, limits } = job;
  if ('reader' in job) {
    const { pixels, warnings } = await decodeToRead(bytes, limits, lookOf(job.reader));
    return { ...prepareImage(pixels, job.reader), warnings };
  }
  return { kind: 'picture', pixels: processClip(await decodeImage(bytes, limits), job.processor) };
}

if (parentPort) {
  serveJobs<PrepareJob, Prepared>(prepare, (prepared) =>
    ownMemory(prepared.kind === 'picture' ? [prepared.pixels.data] : memoryOf(prepared)),
  );
}
