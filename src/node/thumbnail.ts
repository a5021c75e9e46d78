import { InputError, messageOf } from '../core/errors.js';
import type { Look, Pixels } from '../image/pixels.js';
import { decodeImage, type ImageInput } from './images.js';
import { loadSharp } from './sharp.js';

/** A picture within `side` × `side` pixels as a data URI of a JPEG. Throws InputError where it cannot be read. */
export async function thumbnailUri(file: string, side = 240): Promise<string> {
  return jpegUri(await decodeImage(file, {}, 0, 'seen'), side, file);
}

/** A picture large enough to read on a screen, as a data URI, and the size it has itself; `look` as it was read. */
export async function previewOf(
  image: ImageInput,
  look: Look,
  side = 1400,
): Promise<{ readonly picture: string; readonly width: number; readonly height: number }> {
  const pixels = await decodeImage(image, {}, 0, look);
  const where = typeof image === 'string' ? image : 'image';
  return { picture: await jpegUri(pixels, side, where), width: pixels.width, height: pixels.height };
}

async function jpegUri({ width, height, data }: Pixels, side: number, where: string): Promise<string> {
  const sharp = await loadSharp();
  try {
    const jpeg = await sharp(data, { raw: { width, height, channels: 3 } })
      .resize(side, side, { fit: 'inside', withoutEnlargement: true })
      .jpeg({ quality: 80 })
      .toBuffer();
    return `data:image/jpeg;base64,${jpeg.toString('base64')}`;
  } catch (cause) {
    throw new InputError(`${where}: no thumbnail can be made: ${messageOf(cause)}`, { cause });
  }
}
