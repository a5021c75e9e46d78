import type { InkMask } from './binarise.js';
import { type Gray, grayFrom } from './gray.js';

/** The lower edges of ink, thinned to at most `limit` points: where baselines are. */
function lowerEdges({ width, height, data, runs }: InkMask, limit: number): { x: Float32Array; y: Float32Array } {
  const found: number[] = [];
  const last = (height - 1) * width;
  for (let run = 0; run < runs.length && runs[run] < last; run += 2) {
    for (let i = runs[run]; i < runs[run + 1]; i++) if (data[i + width] === 0) found.push(i);
  }
  const step = Math.max(1, found.length / limit);
  const count = Math.floor(found.length / step);
  const kept = Array.from({ length: count }, (_, i) => found[Math.floor(i * step)]);
  return {
    x: Float32Array.from(kept, (i) => (i % width) - width / 2),
    y: Float32Array.from(kept, (i) => Math.floor(i / width)),
  };
}

/**
 * The angle by which lines of text are turned clockwise, in degrees, within ±`most`: the one whose projection has the sharpest
 * peaks. 0 where there is too little ink to tell.
 */
export function estimateSkew(mask: InkMask, most = 6): number {
  const { x, y } = lowerEdges(mask, 30000);
  if (x.length < 50) return 0;
  const reach = Math.ceil((mask.width / 2) * Math.tan((most * Math.PI) / 180)) + 2;
  const bins = new Float32Array(mask.height + 2 * reach + 2);
  const score = (degrees: number, stride: number) => {
    const slope = Math.tan((degrees * Math.PI) / 180);
    bins.fill(0);
    for (let i = 0; i < x.length; i += stride) {
      const at = y[i] - x[i] * slope + reach;
      const whole = Math.floor(at);
      bins[whole] += 1 - at + whole;
      bins[whole + 1] += at - whole;
    }
    let sum = 0;
    for (let i = 1; i < bins.length; i++) sum += (bins[i] + bins[i - 1]) ** 2;
    return sum;
  };
  const best = (around: number, reachDegrees: number, step: number, stride = 1) => {
    let found = around;
    let highest = score(around, stride);
    for (let angle = around - reachDegrees; angle <= around + reachDegrees + 1e-9; angle += step) {
      const value = Math.abs(angle) <= most ? score(angle, stride) : 0;
      if (value > highest) {
        highest = value;
        found = angle;
      }
    }
    return found;
  };
  // Of many points a part tells where to look closer.
  const stride = Math.max(1, Math.min(4, Math.floor(x.length / 4000)));
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
