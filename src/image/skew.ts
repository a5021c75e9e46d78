import type { InkMask } from './binarise.js';
import { type Gray, grayFrom } from './gray.js';
import { workIn } from './kernels.js';

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
 * The angle by which lines of text are turned clockwise, in degrees, within ±`most`: the one whose projection has the sharpest
 * peaks. 0 where there is too little ink to tell.
 */
export function estimateSkew(mask: InkMask, most = 6): number {
  const points = lowerEdges(mask, 30000);
  const { length } = points.x;
  if (length < 50) return 0;
  const reach = Math.ceil((mask.width / 2) * Math.tan((most * Math.PI) / 180)) + 2;
  const bins = mask.height + 2 * reach + 2;
  const { kernels, buffer, at } = workIn(4 * length, 4 * length, 4 * bins);
  new Float32Array(buffer, at[0], length).set(points.x);
  new Float32Array(buffer, at[1], length).set(points.y);
  const sharpness = (degrees: number, stride: number) =>
    kernels.sharpness(at[0], at[1], length, stride, Math.tan((degrees * Math.PI) / 180), reach, at[2], bins);
  const best = (around: number, reachDegrees: number, step: number, stride = 1) => {
    let found = around;
    let highest = sharpness(around, stride);
    for (let angle = around - reachDegrees; angle <= around + reachDegrees + 1e-9; angle += step) {
      const value = Math.abs(angle) <= most ? sharpness(angle, stride) : 0;
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
  const { kernels, buffer, at } = workIn(data.length, data.length);
  const bytes = new Uint8Array(buffer);
  bytes.set(data, at[0]);
  bytes.fill(paper, at[1], at[1] + data.length);
  kernels.straighten(at[0], width, height, sin, cos, at[1]);
  return grayFrom(width, height, bytes.slice(at[1], at[1] + data.length));
}
