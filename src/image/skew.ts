import type { InkMask } from './binarise.js';
import { type Gray, grayFrom } from './gray.js';

/** Points, by the distance from the middle of the page and from its top. */
interface Points {
  readonly x: Float32Array;
  readonly y: Float32Array;
}

/** The lower edges of ink, thinned to at most `limit` points: where baselines are. */
function lowerEdges({ width, height, data, runs }: InkMask, limit: number): Points {
  const last = (height - 1) * width;
  let ink = 0;
  for (let run = 0; run < runs.length; run += 2) ink += runs[run + 1] - runs[run];
  const found = new Int32Array(ink);
  let edges = 0;
  for (let run = 0; run < runs.length && runs[run] < last; run += 2) {
    for (let i = runs[run]; i < runs[run + 1]; i++) {
      found[edges] = i;
      edges += 1 - data[i + width];
    }
  }
  const step = Math.max(1, edges / limit);
  const count = Math.floor(edges / step);
  const [x, y] = [new Float32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) {
    const at = found[Math.floor(i * step)];
    y[i] = Math.floor(at / width);
    x[i] = at - y[i] * width - width / 2;
  }
  return { x, y };
}

/**
 * How sharp the peaks are of every `stride`th point's projection along a direction: each is shared by two of the `bins`, which begin
 * `reach` above the page.
 */
function sharpness({ x, y }: Points, degrees: number, stride: number, bins: Float32Array, reach: number): number {
  const slope = Math.tan((degrees * Math.PI) / 180);
  bins.fill(0);
  for (let i = 0; i < x.length; i += stride) {
    const at = y[i] - x[i] * slope + reach;
    const whole = at | 0;
    bins[whole] += 1 - at + whole;
    bins[whole + 1] += at - whole;
  }
  let sum = 0;
  let before = bins[0];
  for (let i = 1; i < bins.length; i++) {
    const both = bins[i] + before;
    sum += both * both;
    before = bins[i];
  }
  return sum;
}

/**
 * The angle by which lines of text are turned clockwise, in degrees, within ±`most`: the one whose projection has the sharpest
 * peaks. 0 where there is too little ink to tell.
 */
export function estimateSkew(mask: InkMask, most = 6): number {
  const points = lowerEdges(mask, 30000);
  const { length } = points.x;
  if (length < 50) return 0;
  const reach = Math.ceil((mask.width / 2) * Math.tan((most * Math.PI) / 180)) + 2;
  const bins = new Float32Array(mask.height + 2 * reach + 2);
  const best = (around: number, reachDegrees: number, step: number, stride = 1) => {
    let found = around;
    let highest = sharpness(points, around, stride, bins, reach);
    for (let angle = around - reachDegrees; angle <= around + reachDegrees + 1e-9; angle += step) {
      const value = Math.abs(angle) <= most ? sharpness(points, angle, stride, bins, reach) : 0;
      if (value > highest) {
        highest = value;
        found = angle;
      }
    }
    return found;
  };
  // Of many points a part tells where to look closer.
  const stride = Math.max(1, Math.min(4, Math.floor(length / 4000)));
  return best(best(best(0, most, 0.2, stride), 0.2, 0.04), 0.04, 0.01);
}

/** Turns an image counter-clockwise by `degrees` about its centre, in its own size. What comes in from outside is `paper`. */
export function straighten({ width, height, data }: Gray, degrees: number, paper: number): Gray {
  const sin = Math.sin((degrees * Math.PI) / 180);
  const cos = Math.cos((degrees * Math.PI) / 180);
  const out = new Uint8Array(data.length).fill(paper);
  for (let y = 0; y < height; y++) {
    const dy = y + 0.5 - height / 2;
    for (let x = 0; x < width; x++) {
      const dx = x + 0.5 - width / 2;
      const sx = dx * cos - dy * sin + width / 2 - 0.5;
      const sy = dx * sin + dy * cos + height / 2 - 0.5;
      const left = Math.floor(sx);
      const top = Math.floor(sy);
      if (left < 0 || top < 0 || left + 1 >= width || top + 1 >= height) continue;
      const i = top * width + left;
      const fx = sx - left;
      const upper = data[i] + (data[i + 1] - data[i]) * fx;
      const lower = data[i + width] + (data[i + width + 1] - data[i + width]) * fx;
      out[y * width + x] = upper + (lower - upper) * (sy - top) + 0.5;
    }
  }
  return grayFrom(width, height, out);
}
