import { AbortedError, InputError, messageOf } from '../core/errors.js';
import type { Pixels } from '../image/pixels.js';
import { decodeImage } from '../node/images.js';
import type { Io } from './command.js';

export interface NamedImage {
  readonly name: string;
  readonly pixels: Pixels;
}

/** Images named on the command line, `-` for standard input. */
export interface ImageQueue {
  /** The next images, at most `count`; those that cannot be read are reported and counted. Empty at the end. */
  take(count: number): Promise<NamedImage[]>;
  readonly failed: () => number;
}

/**
 * Where only one image is named, it failing is the command's failure: an InputError. `named` says how many were, where `names` are
 * this process's share.
 */
export function openImages(names: readonly string[], io: Io, named: number = names.length): ImageQueue {
  const left = [...names];
  let failed = 0;
  const readOne = async (name: string): Promise<NamedImage[]> => {
    try {
      return [{ name, pixels: await decodeImage(name === '-' ? await io.readStdin() : name) }];
    } catch (error) {
      if (!(error instanceof InputError) || named === 1) throw error;
      failed++;
      io.err(`varyclip: ${messageOf(error)}\n`);
      return [];
    }
  };
  return {
    failed: () => failed,
    take: async (count) => {
      const found: NamedImage[] = [];
      while (found.length < count && left.length > 0) {
        if (io.signal.aborted) throw new AbortedError('interrupted');
        found.push(...(await readOne(left.shift() as string)));
      }
      return found;
    },
  };
}
