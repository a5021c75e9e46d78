import { AbortedError, InputError, messageOf } from '../core/errors.js';
import type { Pixels } from '../image/pixels.js';
import { factsOf, type Settled } from '../node/bulk/line-job.js';
import { decodeImage, naming } from '../node/images.js';
import type { Io } from './command.js';

export interface NamedImage {
  readonly name: string;
  readonly pixels: Pixels;
}

export interface ImageBatch {
  /** None at the end. */
  readonly images: readonly NamedImage[];
  /** All that were tried for them. */
  readonly tried: readonly Settled[];
}

/** Images named on the command line, `-` for standard input. */
export interface ImageQueue {
  /** The next images, at most `count`; those that cannot be read are reported and counted. */
  take(count: number): Promise<ImageBatch>;
  readonly failed: () => number;
}

/**
 * Where only one image is named, it failing is the command's failure: an InputError. `named` says how many were, where `names` are
 * this process's share.
 */
export function openImages(names: readonly string[], io: Io, named: number = names.length): ImageQueue {
  const left = [...names];
  let failed = 0;
  const readOne = async (name: string): Promise<{ readonly pixels?: Pixels; readonly failure?: string }> => {
    try {
      return { pixels: await decodeImage(name === '-' ? await io.readStdin() : name).catch(naming('standard input')) };
    } catch (error) {
      if (!(error instanceof InputError) || named === 1) throw error;
      failed++;
      io.err(`varyclip: ${messageOf(error)}\n`);
      return { failure: messageOf(error) };
    }
  };
  return {
    failed: () => failed,
    take: async (count) => {
      const [images, tried]: [NamedImage[], Settled[]] = [[], []];
      while (images.length < count && left.length > 0) {
        if (io.signal.aborted) throw new AbortedError('interrupted');
        const name = left.shift() as string;
        // What it was before it was read: a change during that counts as one.
        const facts = factsOf(name);
        const { pixels, failure } = await readOne(name);
        if (pixels) images.push({ name, pixels });
        tried.push({ name, facts, ...(failure !== undefined && { failure }) });
      }
      return { images, tried };
    },
  };
}
