/** Pictures with transparency, drawn as a contrastive tower sees them: moved, turned, on a ground of some colour. */
import type { Rng } from '../core/rng.js';
import type { ClipProcessor } from './clip-processor.js';
import type { Rgb } from './pixels.js';

/** 8 bits a channel, red, green, blue, alpha. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export interface PictureAugmentation {
  /** Sizes relative to the frame: from, to. Default [0.75, 1.1]. */
  readonly scale?: readonly [number, number];
  /** Most that the middle moves, as a part of the frame. Default 0.1. */
  readonly shift?: number;
  /** Most degrees of turning. Default 12. */
  readonly rotate?: number;
  /** How often pictures that may be are mirrored. Default 0.5. */
  readonly flip?: number;
  /** How often colours are taken away. Default 0.05. */
  readonly grayscale?: number;
  /** Most change of brightness, contrast and saturation, as a part. Default 0.2. */
  readonly colour?: number;
  /** How often the ground behind transparent parts is another colour than white. Default 0.6. */
  readonly ground?: number;
  /** How often a part of the frame, up to a third of each side, is covered. Default 0. */
  readonly erase?: number;
}

/** How one picture is drawn. */
export interface Drawing {
  readonly scale: number;
  /** Of the frame's sides. */
  readonly shift: readonly [number, number];
  /** Degrees, counter-clockwise. */
  readonly angle: number;
  readonly mirrored: boolean;
  readonly gray: boolean;
  readonly brightness: number;
  readonly contrast: number;
  readonly saturation: number;
  readonly ground: Rgb;
  /** What is covered by the ground: left, top, right, bottom of the frame's sides. */
  readonly erased: readonly [number, number, number, number] | undefined;
}

/** A drawing by chance; every draw takes as many numbers from `rng`. */
export function chooseDrawing(rng: Rng, options: PictureAugmentation, mayFlip: boolean): Drawing {
  const {
    scale = [0.75, 1.1],
    shift = 0.1,
    rotate = 12,
    flip = 0.5,
    grayscale = 0.05,
    colour = 0.2,
    ground = 0.6,
    erase = 0,
  } = options;
  const within = (most: number) => most * (2 * rng.next() - 1);
  const drawing = {
    scale: scale[0] + (scale[1] - scale[0]) * rng.next(),
    shift: [within(shift), within(shift)] as const,
    angle: within(rotate),
    mirrored: rng.next() < flip && mayFlip,
    gray: rng.next() < grayscale,
    brightness: 1 + within(colour),
    contrast: 1 + within(colour),
    saturation: 1 + within(colour),
  };
  const colours: Rgb = [rng.integer(0, 256), rng.integer(0, 256), rng.integer(0, 256)];
  const other = rng.next() < ground;
  const covers = rng.next() < erase;
  const [left, top, width, height] = [rng.next(), rng.next(), rng.next() / 3, rng.next() / 3];
  return {
    ...drawing,
    ground: other ? colours : [255, 255, 255],
    erased: covers ? [left - width / 2, top - height / 2, left + width / 2, top + height / 2] : undefined,
  };
}

/** Draws into planes [3, side, side], scaled and normalised as `processor` says. */
export function drawPicture(
  { width, height, data }: Picture,
  drawing: Drawing,
  { side, processor, into }: { readonly side: number; readonly processor: ClipProcessor; readonly into: Float32Array },
): void {
  const { scale, shift, angle, mirrored, ground, erased } = drawing;
  const radians = (angle * Math.PI) / 180;
  // The longer side fills the frame at scale 1.
  const unit = Math.max(width, height) / (side * scale);
  const [cos, sin] = [Math.cos(radians) * unit, Math.sin(radians) * unit];
  const [middleX, middleY] = [side * (0.5 + shift[0]), side * (0.5 + shift[1])];
  const adjust = colourAdjuster(drawing, processor);
  const covered = erased?.map((part) => part * side);
  const pixel = new Float64Array(4);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const [dx, dy] = [x + 0.5 - middleX, y + 0.5 - middleY];
      const sx = cos * dx - sin * dy;
      const isCovered = covered !== undefined && x >= covered[0] && x < covered[2] && y >= covered[1] && y < covered[3];
      if (isCovered) pixel.fill(0);
      else
        sample(
          data,
          width,
          height,
          width / 2 + (mirrored ? -sx : sx) - 0.5,
          height / 2 + sin * dx + cos * dy - 0.5,
          pixel,
        );
      const clear = 1 - pixel[3] / 255;
      for (let c = 0; c < 3; c++) pixel[c] += clear * ground[c];
      adjust(pixel, into, y * side + x, side * side);
    }
}

/** The colour at a place between pixels, times its alpha, and the alpha: all 0 to 255. Outside all is clear. */
function sample(data: Uint8Array, width: number, height: number, x: number, y: number, into: Float64Array): void {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  into.fill(0);
  if (left < -1 || top < -1 || left >= width || top >= height) return;
  const [fx, fy] = [x - left, y - top];
  for (let i = 0; i < 4; i++) {
    const [px, py] = [left + (i & 1), top + (i >> 1)];
    if (px < 0 || py < 0 || px >= width || py >= height) continue;
    const weight = (i & 1 ? fx : 1 - fx) * (i >> 1 ? fy : 1 - fy);
    const at = 4 * (py * width + px);
    const alpha = weight * (data[at + 3] / 255);
    into[0] += alpha * data[at];
    into[1] += alpha * data[at + 1];
    into[2] += alpha * data[at + 2];
    into[3] += 255 * alpha;
  }
}

const gray = (pixel: Float64Array) => 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];

/** Changes a colour, 0 to 255, and writes it normalised. */
function colourAdjuster(
  { gray: colourless, brightness, contrast, saturation }: Drawing,
  { rescale, normalize }: ClipProcessor,
): (pixel: Float64Array, into: Float32Array, at: number, plane: number) => void {
  const kept = colourless ? 0 : saturation;
  return (pixel, into, at, plane) => {
    const level = gray(pixel);
    for (let c = 0; c < 3; c++) {
      const coloured = level + kept * (pixel[c] - level);
      const value = Math.min(255, Math.max(0, (coloured * brightness - 128) * contrast + 128));
      into[c * plane + at] = (value * rescale - (normalize?.mean[c] ?? 0)) / (normalize?.std[c] ?? 1);
    }
  };
}
