import type { Tensor } from '../core/tensor.js';
import type { ClipProcessor } from '../image/clip-processor.js';
import type { PreparedImage, PrepareSettings } from '../infer/prepare.js';
import type { ImageLimits } from './images.js';
import type { Prepared, PrepareJob } from './prepare-worker.js';
import { createWorkerPool, ownMemory } from './worker-pool.js';

/**
 * Threads that decode images and make them ready: the event loop is free meanwhile. Bytes are handed over, and gone afterwards.
 * Throws InputError for what is no image or beyond the limits, TimeLimitError, ThreadEndedError.
 */
export interface PreparePool {
  /** For `readPrepared`. */
  forReading(bytes: Uint8Array, settings: PrepareSettings): Promise<PreparedImage>;
  /** For `embedPixels`: float32 [3, H, W]. */
  forEmbedding(bytes: Uint8Array, processor: ClipProcessor): Promise<Tensor<'float32'>>;
  dispose(): Promise<void>;
}

export interface PreparePoolOptions {
  readonly threads?: number;
  readonly limits: ImageLimits;
  /** Seconds for an image. Default: no limit. */
  readonly timeLimit?: number;
}

export function createPreparePool({ threads = 1, limits, timeLimit }: PreparePoolOptions): PreparePool {
  const pool = createWorkerPool<PrepareJob, Prepared>({
    module: new URL('./prepare-worker.js', import.meta.url),
    data: undefined,
    threads,
    // A thread that ends takes one image with it.
    jobsPerThread: 1,
    name: 'image',
    ...(timeLimit !== undefined && { timeLimit }),
  });
  const run = (job: PrepareJob) => pool.run(job, ownMemory([job.bytes]));
  return {
    forReading: async (bytes, reader) => (await run({ bytes, limits, reader })) as PreparedImage,
    forEmbedding: async (bytes, processor) => {
      const prepared = await run({ bytes, limits, processor });
      return (prepared as Extract<Prepared, { kind: 'picture' }>).pixels;
    },
    dispose: pool.dispose,
  };
}
