import type { Tensor } from '../core/tensor.js';
import { type Channels, type ClipProcessor, clipMean, processClip } from './clip-processor.js';
import { type Pixels, pad, type Rgb } from './pixels.js';

/** `image_aspect_ratio` of Vary's data arguments; any other word means `square` there. */
export type ImageMode = 'square' | 'keep' | 'pad';

const shortSide = 224;
const longSide = 448;

/** The shortest edge with which the longest stays within 448 pixels. */
function edgeOf({ width, height }: Pixels): number {
  const aspect = Math.max(width, height) / Math.min(width, height);
  return Math.trunc(Math.min(longSide / aspect, shortSide));
}

/** The image at the top left (not in the middle) of a square of the mean colour: [H, W, 3] -> [S, S, 3]. */
function padToSquare(image: Pixels, mean: Channels): Pixels {
  const side = Math.max(image.width, image.height);
  const colour: Rgb = [Math.trunc(mean[0] * 255), Math.trunc(mean[1] * 255), Math.trunc(mean[2] * 255)];
  return pad(image, { left: 0, top: 0, width: side, height: side }, colour);
}

/**
 * An image for CLIP's tower in one of Vary's modes (vary/data/base_dataset.py): cropped, with its aspect kept, or padded to a
 * square. [H, W, 3] -> float32 [3, h, w]; the 1024 tower always takes the untouched image.
 */
export function processInMode(image: Pixels, processor: ClipProcessor, mode: ImageMode): Tensor<'float32'> {
  if (mode === 'square') return processClip(image, processor);
  const whole = { ...processor, crop: undefined };
  if (mode === 'keep') return processClip(image, { ...whole, resize: edgeOf(image) });
  const padded = padToSquare(image, processor.normalize?.mean ?? clipMean);
  return processClip(padded, { ...whole, resize: shortSide });
}
