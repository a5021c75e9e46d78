/** Vary's `train_transform` (vary/model/plug/transforms.py): the changes a page may go through, then `testTransform`. */
import type { Rng } from '../core/rng.js';
import type { Tensor } from '../core/tensor.js';
import { addNoise, bitmap, brightnessContrast, dilate, erode, gaussianBlur } from './augment.js';
import { processHigh, testTransform } from './high-processor.js';
import { jpegArtifacts } from './jpeg-artifacts.js';
import type { Pixels, Size } from './pixels.js';
import { elasticTransform, gridDistortion, shear, shiftScaleRotate, translate } from './warp.js';

export type DocumentStep =
  | 'bitmap'
  | 'stroke'
  | 'shear'
  | 'shift-scale-rotate'
  | 'grid-distortion'
  | 'elastic'
  | 'brightness-contrast'
  | 'jpeg'
  | 'noise'
  | 'blur';

interface Step {
  readonly name: DocumentStep;
  /** How often it happens. */
  readonly probability: number;
  readonly apply: (image: Pixels, rng: Rng) => Pixels;
}

const uniform = (rng: Rng, low: number, high: number): number => low + (high - low) * rng.next();

/** In the reference's order, with its ranges; its `Bitmap` never happens either. */
const documentSteps: readonly Step[] = [
  { name: 'bitmap', probability: 0, apply: (image) => bitmap(image) },
  { name: 'stroke', probability: 0.02, apply: (image, rng) => (rng.next() < 0.5 ? erode(image) : dilate(image)) },
  {
    name: 'shear',
    probability: 0.03,
    apply: (image, rng) => shear(image, { x: uniform(rng, 0, 3), y: uniform(rng, -3, 0) }),
  },
  {
    name: 'shift-scale-rotate',
    probability: 0.03,
    apply: (image, rng) =>
      shiftScaleRotate(image, {
        dx: uniform(rng, 0, 0.04),
        dy: uniform(rng, 0, 0.03),
        scale: 1 + uniform(rng, -0.15, 0.03),
        angle: uniform(rng, -2, 2),
      }),
  },
  { name: 'grid-distortion', probability: 0.04, apply: randomGrid },
  { name: 'elastic', probability: 0.04, apply: randomElastic },
  {
    name: 'brightness-contrast',
    probability: 0.03,
    apply: (image, rng) =>
      brightnessContrast(image, { contrast: 1 + uniform(rng, -0.1, 0.1), brightness: uniform(rng, -0.1, 0.1) }),
  },
  { name: 'jpeg', probability: 0.07, apply: (image, rng) => jpegArtifacts(image, rng.integer(95, 101)) },
  { name: 'noise', probability: 0.08, apply: randomNoise },
  { name: 'blur', probability: 0.03, apply: (image) => gaussianBlur(image) },
];

/** The names of the steps, in their order. */
export const documentStepNames: readonly DocumentStep[] = documentSteps.map(({ name }) => name);

function randomGrid(image: Pixels, rng: Rng): Pixels {
  const lines = () => Array.from({ length: 6 }, () => 1 + uniform(rng, -0.05, 0.05));
  return gridDistortion(image, lines(), lines());
}

/** Moved by up to 5 whole pixels, then distorted. */
function randomElastic(image: Pixels, rng: Rng): Pixels {
  const moved = translate(image, rng.integer(0, 6), rng.integer(0, 6));
  const corners = Array.from({ length: 6 }, () => uniform(rng, -1.2, 1.2));
  const noise = () => Float32Array.from({ length: image.width * image.height }, () => uniform(rng, -1, 1));
  return elasticTransform(moved, { noiseX: noise(), noiseY: noise(), alpha: 50, sigma: 12, corners });
}

function randomNoise(image: Pixels, rng: Rng): Pixels {
  const deviation = Math.sqrt(uniform(rng, 0, 20));
  return addNoise(
    image,
    Float32Array.from(image.data, () => deviation * rng.normal()),
  );
}

/** How often each step happens, where it differs from the reference. */
export type DocumentProbabilities = Readonly<Partial<Record<DocumentStep, number>>>;

/** A page changed at random: a function of the image and the generator's state. [H, W, 3] -> [H, W, 3]. */
export function augmentDocument(image: Pixels, rng: Rng, probabilities: DocumentProbabilities = {}): Pixels {
  let changed = image;
  for (const { name, probability, apply } of documentSteps) {
    if (rng.next() < (probabilities[name] ?? probability)) changed = apply(changed, rng);
  }
  return changed;
}

/** A page changed at random and prepared for the tower: float32 [3, height, width]. */
export function trainTransform(image: Pixels, size: Size, rng: Rng): Tensor<'float32'> {
  return processHigh(augmentDocument(image, rng), testTransform(size));
}
