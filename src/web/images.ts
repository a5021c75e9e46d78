import { InputError, messageOf } from '../core/errors.js';
import { type Look, type Pixels, pixelsFrom } from '../image/pixels.js';

/**
 * A picture's pixels as the browser's decoder gives them, without colour management; 16 bits are always scaled. Throws InputError
 * where the browser cannot decode it.
 */
export async function decodeImage(file: Blob, look: Look = 'stored'): Promise<Pixels> {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: 'none',
    imageOrientation: look === 'seen' ? 'from-image' : 'none',
    premultiplyAlpha: 'none',
  }).catch((cause: unknown) => {
    throw new InputError(`image: this browser cannot decode it: ${messageOf(cause)}`, { cause });
  });
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!context) throw new InputError(`image: this browser gives no canvas of ${width}×${height}`);
    if (look === 'seen') {
      context.fillStyle = '#fff';
      context.fillRect(0, 0, width, height);
    }
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    const rgb = new Uint8Array(3 * width * height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) rgb[3 * i + c] = data[4 * i + c];
    }
    return pixelsFrom(width, height, rgb);
  } finally {
    bitmap.close();
  }
}
