import type { Tensor } from '../core/tensor.js';
import type { ClipProcessor } from '../image/clip-processor.js';
import type { PreparedImage, PrepareSettings } from '../infer/prepare.js';
import type { ImageLimits } from './images.js';
import type { Prepared, PrepareJob } from './prepare-worker.js';
import { createWorkerPool } from './worker-pool.js';

/** Threads that decode images and make them ready: the event loop is free meanwhile. */
export interface PreparePool {
  /** For `readPrepared`. Throws InputError for what is no image or beyond the limits. */
  forReading(bytes: Uint8Array, settings: PrepareSettings): Promise<PreparedImage>;
  /** For `embedPixels`: float32 [3, H, W]. */
  forEmbedding(bytes: Uint8Array, processor: ClipProcessor): Promise<Tensor<'float32'>>;
  dispose(): Promise<void>;
}

export interface PreparePoolOptions {
  readonly threads?: number;
  readonly limits: ImageLimits;
}

export function createPreparePool({ threads = 1, limits }: PreparePoolOptions): PreparePool {
  const pool = createWorkerPool<PrepareJob, Prepared>({
    module: new URL('./prepare-worker.js', import.meta.url),
    data: undefined,
    threads,
    jobsPerThread: 2,
    name: 'images',
  });
  return {
    forReading: async (bytes, reader) => (await pool.run({ bytes, limits, reader })) as PreparedImage,
    forEmbedding: async (bytes, processor) => {
      const prepared = await pool.run({ bytes, limits, processor });
      return (prepared as Extract<Prepared, { kind: 'picture' }>).pixels;
    },
    dispose: pool.dispose,
  };
}
