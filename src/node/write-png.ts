import { InputError, messageOf } from '../core/errors.js';
import type { Pixels } from '../image/pixels.js';
import { writeFileAtomic } from './atomic.js';
import { loadSharp } from './sharp.js';

/** Writes pixels as a PNG. Throws InputError where the file cannot be written. */
export async function writePng(path: string, { width, height, data }: Pixels): Promise<void> {
  const sharp = await loadSharp();
  const image = sharp(data, { raw: { width, height, channels: 3 } }).png();
  const png = await image.toBuffer().catch((cause: unknown) => {
    throw new InputError(`${path}: no PNG can be made: ${messageOf(cause)}`, { cause });
  });
  writeFileAtomic(path, [png]);
}
