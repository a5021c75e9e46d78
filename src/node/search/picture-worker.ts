/** The body of a worker thread: reads pictures and makes them what the model's tower takes. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../core/errors.js';
import type { Tensor } from '../../core/tensor.js';
import { type ClipProcessor, processClip } from '../../image/clip-processor.js';
import { mostFileBytes } from '../../image/image-header.js';
import { decodeImage, expectImageFile, type ImageLimits } from '../images.js';
import { reasonOf } from '../place.js';
import { ownMemory, serveJobs } from '../worker-pool.js';

export interface PicturePlan {
  readonly processor: ClipProcessor;
  readonly limits: ImageLimits;
}

export interface PictureTask {
  /** A path that can be opened. */
  readonly file: string;
  /** SHA-256 of contents whose vectors are known: of these only the hash is wanted. */
  readonly known: readonly string[];
}

/** Pictures that are prepared one after the other: a message for each would take as long as a small one. */
export type PictureJob = readonly PictureTask[];
/** What each of a job's pictures became, or why it cannot be read. */
export type PictureResult = PreparedPicture | { readonly problem: string };

export interface PreparedPicture {
  readonly size: number;
  readonly modified: number;
  readonly sha256: string;
  /** Missing where the contents are known. */
  readonly picture?: { readonly width: number; readonly height: number; readonly pixels: Tensor<'float32'> };
}

/** Waits for the disk: this thread has nothing else to do, and going through the pool of threads takes longer than a small file. */
function readPicture(file: string, maxBytes: number) {
  const facts = expectImageFile(file, maxBytes);
  try {
    return { facts, bytes: readFileSync(file) };
  } catch (cause) {
    throw new InputError(`${file}: cannot be read: ${reasonOf(cause, file)}`, { cause });
  }
}

/** One picture: its file's facts, and pixels [3, H, W] for the tower. Throws InputError where it cannot be read. */
async function preparePicture({ file, known }: PictureTask, plan: PicturePlan): Promise<PreparedPicture> {
  const { maxBytes = mostFileBytes } = plan.limits;
  const { facts, bytes } = readPicture(file, maxBytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const found = { size: bytes.length, modified: Math.trunc(facts.mtimeMs), sha256 };
  if (known.includes(sha256)) return found;
  const image = await decodeImage(bytes, plan.limits).catch((cause: unknown) => {
    if (!(cause instanceof InputError)) throw cause;
    throw new InputError(`${file}: ${cause.message.replace(/^image: /, '')}`, { cause });
  });
  const pixels = processClip(image, plan.processor);
  return { ...found, picture: { width: image.width, height: image.height, pixels } };
}

async function preparePictures(job: PictureJob, plan: PicturePlan): Promise<PictureResult[]> {
  const results: PictureResult[] = [];
  for (const task of job) {
    try {
      results.push(await preparePicture(task, plan));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      results.push({ problem: messageOf(error) });
    }
  }
  return results;
}

const pixelsOf = (result: PictureResult) => ('problem' in result ? undefined : result.picture?.pixels.data);

if (parentPort) {
  serveJobs<PictureJob, PictureResult[]>(
    (job) => preparePictures(job, workerData as PicturePlan),
    (results) => ownMemory(results.flatMap((result) => pixelsOf(result) ?? [])),
  );
}
