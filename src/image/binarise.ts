import { clearCounts, type Gray, grayFrom, histogramOf, levelAt, tableBytes, takeCounts } from './gray.js';
import { type Workplace, workIn } from './kernels.js';
import type { Size } from './pixels.js';

/** Which pixels are ink: one byte each, 1 or 0. */
export interface InkMask {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
  /** Stretches of ink, row by row, as where they begin in `data` and where they have ended: most of a page is paper. */
  readonly runs: Int32Array;
}

/** The level below which `share` of the counted values lie. */
const percentile = (histogram: Uint32Array, share: number): number =>
  levelAt(histogram, share * histogram.reduce((sum, count) => sum + count, 0));

/** The level that best parts a histogram in two (Otsu 1979). */
function otsuLevel(histogram: Uint32Array): number {
  let total = 0;
  let sum = 0;
  for (let level = 0; level < 256; level++) {
    total += histogram[level];
    sum += level * histogram[level];
  }
  let best = 0;
  let bestVariance = -1;
  let below = 0;
  let sumBelow = 0;
  for (let level = 0; level < 255; level++) {
    below += histogram[level];
    sumBelow += level * histogram[level];
    if (below === 0 || below === total) continue;
    const difference = sumBelow / below - (sum - sumBelow) / (total - below);
    const variance = below * (total - below) * difference * difference;
    if (variance > bestVariance) {
      bestVariance = variance;
      best = level;
    }
  }
  return best;
}

/** Whether most of the image is dark, as where text is light on dark. */
export function isDark({ data }: Gray): boolean {
  const histogram = histogramOf(data, 3);
  const cut = otsuLevel(histogram);
  let below = 0;
  let all = 0;
  for (let level = 0; level < 256; level++) {
    all += histogram[level];
    if (level <= cut) below += histogram[level];
  }
  // Text covers less of a page than paper does; an evenly gray image is paper.
  return below > 0.5 * all && percentile(histogram, 0.5) < 128;
}

/** The image with light and dark exchanged. */
export function inverted({ width, height, data }: Gray): Gray {
  return grayFrom(
    width,
    height,
    data.map((level) => 255 - level),
  );
}

/** A page in the kernels' memory, and tables to count in. */
interface Sheet extends Size, Pick<Workplace, 'kernels' | 'buffer'> {
  readonly levels: number;
  readonly bins: number;
  readonly runs: number;
}

/** Rows whose runs are asked for at once. */
const stripRows = 16;

function workOn({ width, height, data }: Gray): Sheet {
  const { kernels, buffer, at } = workIn(data.length, tableBytes, 4 * stripRows * (width + 1));
  const [levels, bins, runs] = at;
  new Uint8Array(buffer).set(data, levels);
  clearCounts(buffer, bins);
  return { width, height, kernels, buffer, levels, bins, runs };
}

/** Level of the paper on a grid of square blocks: a high percentile of each, so that ink does not lower it. */
function paperGrid(
  { width, height, kernels, buffer, levels: data, bins }: Sheet,
  block: number,
): { columns: number; rows: number; levels: Float32Array } {
  const columns = Math.max(1, Math.round(width / block));
  const rows = Math.max(1, Math.round(height / block));
  const levels = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const left = Math.floor((column * width) / columns);
      const right = Math.floor(((column + 1) * width) / columns);
      const bottom = Math.floor(((row + 1) * height) / rows);
      for (let y = Math.floor((row * height) / rows); y < bottom; y += 2) {
        kernels.histogram(data + y * width + left, right - left, 2, bins);
      }
      levels[row * columns + column] = percentile(takeCounts(buffer, bins), 0.75);
    }
  }
  return { columns, rows, levels };
}

/** Pixels [from, to) of a row whose middles lie between the same two blocks; `part`: how far the first is from left to right. */
interface Stretch {
  readonly left: number;
  readonly right: number;
  readonly from: number;
  readonly to: number;
  readonly part: number;
}

function stretchesOf(width: number, columns: number): Stretch[] {
  const stretches: Stretch[] = [];
  const places = Array.from({ length: width }, (_, x) =>
    Math.min(columns - 1, Math.max(0, ((x + 0.5) * columns) / width - 0.5)),
  );
  for (let from = 0; from < width; ) {
    const left = Math.floor(places[from]);
    // Before the first block's middle nothing rises.
    const isOutside = places[from] === left && places[from] === places[from + 1];
    const next = places.findIndex((place, x) => x > from && (isOutside ? place !== left : Math.floor(place) !== left));
    const to = next < 0 ? width : next;
    stretches.push({
      left,
      right: isOutside ? left : Math.min(columns - 1, left + 1),
      from,
      to,
      part: places[from] - left,
    });
    from = to;
  }
  return stretches;
}

/** A level's parts: levels of paper rise along a row by so many of them a pixel. */
const one = 1 << 16;

/** Each level becomes how much darker than its paper the pixel is. Returns how many pixels are as dark. */
function darken(page: Sheet): Uint32Array {
  const { width, height, kernels, buffer, bins } = page;
  const { columns, rows, levels } = paperGrid(page, Math.max(32, Math.round(Math.min(width, height) / 16)));
  const line = new Float32Array(columns);
  // Where pixels of a row lie between the blocks: the same in all rows.
  const stretches = stretchesOf(width, columns);
  for (let y = 0; y < height; y++) {
    const gy = Math.min(rows - 1, Math.max(0, ((y + 0.5) * rows) / height - 0.5));
    const top = Math.floor(gy);
    const bottom = Math.min(rows - 1, top + 1);
    for (let c = 0; c < columns; c++) {
      line[c] = levels[top * columns + c] * (1 - gy + top) + levels[bottom * columns + c] * (gy - top);
    }
    const row = page.levels + y * width;
    for (const { left, right, from, to, part } of stretches) {
      const rise = line[right] - line[left];
      const paper = Math.round(one * (line[left] + rise * part));
      const step = Math.round((one * rise * columns) / width);
      kernels.darken(row + from, to - from, paper, step);
    }
    kernels.histogram(row, width, 1, bins);
  }
  return takeCounts(buffer, bins);
}

/** The stretches of ones of a mask. */
function runsOf({ width, height, kernels, buffer, levels, runs }: Sheet): Int32Array {
  const found = new Int32Array(buffer, runs, stripRows * (width + 1));
  let all = new Int32Array(16384);
  let count = 0;
  for (let y = 0; y < height; y += stripRows) {
    const rows = Math.min(stripRows, height - y);
    const more = kernels.findRuns(levels + y * width, width, rows, y * width, runs);
    if (count + more > all.length) {
      const longer = new Int32Array(2 * (count + more));
      longer.set(all);
      all = longer;
    }
    all.set(found.subarray(0, more), count);
    count += more;
  }
  return all.subarray(0, count);
}

/** Finds the ink of a dark-on-light image: what is clearly darker than the paper round it. */
export function binarise(image: Gray): InkMask {
  const { width, height } = image;
  const page = workOn(image);
  const histogram = darken(page);
  // Noise of the paper itself: its typical darkness, since half of it is darker than its percentile.
  const noise = percentile(histogram, 0.6);
  // Smoothed edges belong to the letters, so a little below the middle; faint print is kept this way too.
  const cut = Math.max(12, noise + 8, 0.8 * otsuLevel(histogram));
  const { kernels, buffer, levels } = page;
  kernels.cutAt(levels, width * height, Math.min(255, Math.floor(cut)));
  return { width, height, data: new Uint8Array(buffer, levels, width * height).slice(), runs: runsOf(page) };
}

/** How much likelier ink is beside ink than anywhere, at least, where somebody put it there. */
const leastCoherence = 0.12;

/** Whether ink lies about by chance: strokes go on from pixel to pixel, noise does not. A page without ink is not noise. */
export function isNoise({ width, height, data, runs }: InkMask): boolean {
  let [ink, right, below] = [0, 0, 0];
  // The last row and column have no neighbours.
  const last = (height - 1) * width;
  for (let run = 0; run < runs.length && runs[run] < last; run += 2) {
    const [start, end] = [runs[run], runs[run + 1]];
    const inner = end % width === 0 ? end - 1 : end;
    ink += inner - start;
    right += end - 1 - start;
    for (let at = start; at < inner; at++) below += data[at + width];
  }
  if (ink === 0) return false;
  const density = ink / ((width - 1) * (height - 1));
  return (right + below) / (2 * ink) - density < leastCoherence;
}
