import type { Tensor } from '../core/tensor.js';
import type { Pixels, Size } from './pixels.js';
import { resizeCv2Linear } from './resize-cv2.js';
import { resizePillow } from './resize-pillow.js';

type Channels = readonly [number, number, number];

export interface HighProcessor {
  readonly size: Size;
  readonly resize: 'cv2-linear' | 'pillow-bicubic';
  readonly mean: Channels;
  readonly std: Channels;
}

const imageNetMean: Channels = [0.485, 0.456, 0.406];
const imageNetStd: Channels = [0.229, 0.224, 0.225];

/** Vary's `test_transform` (vary/model/plug/transforms.py): cv2 bilinear, ImageNet statistics; aspect not kept. */
export const testTransform = (size: Size): HighProcessor => ({
  size,
  resize: 'cv2-linear',
  mean: imageNetMean,
  std: imageNetStd,
});

/** Vary's BlipImageEvalProcessor (vary/model/plug/blip_process.py): Pillow bicubic, CLIP's statistics; aspect not kept. */
export const blipTransform = (size: Size): HighProcessor => ({
  size,
  resize: 'pillow-bicubic',
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
});

/** An image as the tower takes it: float32 [3, height, width]. */
export function processHigh(image: Pixels, { size, resize, mean, std }: HighProcessor): Tensor<'float32'> {
  const resized = resize === 'cv2-linear' ? resizeCv2Linear(image, size) : resizePillow(image, size, 'bicubic');
  return normalize(resized, mean, std);
}

/** (pixel - mean·255) · 1/(std·255) in float32, as albumentations computes it: [H, W, 3] to [3, H, W]. */
function normalize({ width, height, data }: Pixels, mean: Channels, std: Channels): Tensor<'float32'> {
  const plane = width * height;
  const out = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const shift = Math.fround(mean[channel] * 255);
    const factor = Math.fround(1 / Math.fround(std[channel] * 255));
    const values = Float32Array.from({ length: 256 }, (_, level) => Math.fround(level - shift) * factor);
    for (let i = 0; i < plane; i++) out[channel * plane + i] = values[data[3 * i + channel]];
  }
  return { dtype: 'float32', shape: [3, height, width], data: out };
}
