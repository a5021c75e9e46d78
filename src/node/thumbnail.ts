import { InputError, messageOf } from '../core/errors.js';
import { decodeImage } from './images.js';

/** A picture within `side` × `side` pixels as a data URI of a JPEG. Throws InputError where it cannot be read. */
export async function thumbnailUri(file: string, side = 240): Promise<string> {
  const { default: sharp } = await import('sharp');
  const { width, height, data } = await decodeImage(file);
  try {
    const jpeg = await sharp(data, { raw: { width, height, channels: 3 } })
      .resize(side, side, { fit: 'inside', withoutEnlargement: true })
      .jpeg({ quality: 80 })
      .toBuffer();
    return `data:image/jpeg;base64,${jpeg.toString('base64')}`;
  } catch (cause) {
    throw new InputError(`${file}: no thumbnail can be made: ${messageOf(cause)}`, { cause });
  }
}
