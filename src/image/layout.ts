import type { Component } from './components.js';

/** Ink sorted by what it is. */
export interface SortedInk {
  /** Typical height of a letter in pixels. */
  readonly letter: number;
  /** Letters, and what is as high as one. */
  readonly letters: readonly Component[];
  /** Dots, accents, dashes, quotes: they belong to a line, but make none. */
  readonly marks: readonly Component[];
}

const heightOf = (part: Component) => part.bottom - part.top;
const widthOf = (part: Component) => part.right - part.left;

/** The typical height of letters: a median of heights, weighted by area so that specks do not count. */
function letterHeight(parts: readonly Component[], page: { height: number }): number {
  const likely = parts
    .filter((part) => heightOf(part) >= 4 && heightOf(part) < page.height / 3 && widthOf(part) < 12 * heightOf(part))
    .filter((part) => part.area > 0.08 * heightOf(part) * widthOf(part))
    .map((part) => ({ height: heightOf(part), weight: Math.min(part.area, 4 * heightOf(part) ** 1.5) }))
    .sort((a, b) => a.height - b.height);
  let rest = likely.reduce((sum, { weight }) => sum + weight, 0) / 2;
  for (const { height, weight } of likely) {
    rest -= weight;
    if (rest <= 0) return height;
  }
  return 0;
}

/** Sorts components into letters and marks; specks, rules, frames and pictures are left out. */
export function sortInk(parts: readonly Component[], page: { width: number; height: number }): SortedInk {
  const letter = letterHeight(parts, page);
  const letters: Component[] = [];
  const marks: Component[] = [];
  const pictures: Component[] = [];
  for (const part of parts) {
    const height = heightOf(part);
    const width = widthOf(part);
    if (height > 5 * letter || (height > 2.5 * letter && width > 12 * letter)) {
      // A frame is thin: what it holds is still text.
      if (part.area > 0.15 * width * height && width > 2 * letter) pictures.push(part);
    } else if ((width > 5 * letter && height < 0.4 * letter) || (height > 3 * letter && width < 0.3 * letter)) {
      // A rule.
    } else if (height >= 0.55 * letter) {
      letters.push(part);
    } else if (Math.max(width, height) >= 0.12 * letter && part.area >= Math.max(2, 0.012 * letter * letter)) {
      marks.push(part);
    }
  }
  const isOutside = (part: Component) =>
    !pictures.some(
      ({ left, top, right, bottom }) =>
        part.left >= left && part.right <= right && part.top >= top && part.bottom <= bottom,
    );
  return { letter, letters: letters.filter(isOutside), marks: marks.filter(isOutside) };
}

/** Maximal intervals of [start, end] that some part covers, and the parts of each. */
function bandsOf<T>(parts: readonly T[], start: (part: T) => number, end: (part: T) => number) {
  const sorted = parts.toSorted((a, b) => start(a) - start(b));
  const bands: { start: number; end: number; parts: T[] }[] = [];
  for (const part of sorted) {
    const last = bands.at(-1);
    if (last && start(part) < last.end) {
      last.end = Math.max(last.end, end(part));
      last.parts.push(part);
    } else {
      bands.push({ start: start(part), end: end(part), parts: [part] });
    }
  }
  return bands;
}

/** A block of one column: letters, in no order. */
export type Block = readonly Component[];

/** Least width of a gutter, in letters, beside so many rows of text: fewer rows have a corridor between words more easily. */
function narrowestGutter(rows: number): number {
  if (rows < 2) return Number.POSITIVE_INFINITY;
  if (rows < 5) return 5;
  return rows < 9 ? 2.6 : 1.3;
}

/** Whether a large heading runs over the corridor between two sides, which then is a space between its words. */
function isCrossed(left: readonly Component[], right: readonly Component[], letter: number): boolean {
  const isLarge = (part: Component) => heightOf(part) > 1.4 * letter;
  const others = right.filter(isLarge);
  return left
    .filter(isLarge)
    .some((a) =>
      others.some(
        (b) => b.left - a.right < 1.4 * Math.max(heightOf(a), heightOf(b)) && a.top < b.bottom && b.top < a.bottom,
      ),
    );
}

/** Parts a region at a white corridor from its top to its bottom, where there is one that no chance has made. */
function cutColumns(parts: readonly Component[], letter: number): [Component[], Component[]] | undefined {
  const top = Math.min(...bounds(parts, 'top'));
  const bottom = Math.max(...bounds(parts, 'bottom'));
  const narrowest = narrowestGutter((bottom - top) / (2.5 * letter)) * letter;
  const bands = bandsOf(
    parts,
    ({ left }) => left,
    ({ right }) => right,
  );
  let best: { at: number; gap: number } | undefined;
  for (let i = 1; i < bands.length; i++) {
    const gap = bands[i].start - bands[i - 1].end;
    const isWide =
      bands[i - 1].end - bands[0].start > 8 * letter && bands[bands.length - 1].end - bands[i].start > 8 * letter;
    if (isWide && gap >= narrowest && gap > (best?.gap ?? 0)) best = { at: i, gap };
  }
  if (!best) return undefined;
  const side = (from: number, to: number) => bands.slice(from, to).flatMap((band) => band.parts);
  const [left, right] = [side(0, best.at), side(best.at, bands.length)];
  if (isCrossed(left, right, letter)) return undefined;
  // Each side must be text of several lines, not a mark in the margin.
  const isTall = (half: Component[]) =>
    bandsOf(
      half,
      (part) => part.top,
      (part) => part.bottom,
    ).reduce((sum, band) => sum + band.end - band.start, 0) >
    2.5 * letter;
  return isTall(left) && isTall(right) ? [left, right] : undefined;
}

function bounds(parts: readonly Component[], side: 'top' | 'bottom' | 'left' | 'right'): number[] {
  // Not a spread of the parts themselves: a page can have more components than a call can have arguments.
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const part of parts) {
    low = Math.min(low, part[side]);
    high = Math.max(high, part[side]);
  }
  return [low, high];
}

type Interval = { readonly start: number; readonly end: number };
type Band = { start: number; end: number; parts: Component[] };

/** Where a row of letters is white, the outside on both sides included. */
function whiteOf(row: readonly Component[], least: number): Interval[] {
  const inked = bandsOf(
    row,
    ({ left }) => left,
    ({ right }) => right,
  );
  const starts = [Number.NEGATIVE_INFINITY, ...inked.map(({ end }) => end)];
  const ends = [...inked.map(({ start }) => start), Number.POSITIVE_INFINITY];
  return starts.map((start, i) => ({ start, end: ends[i] })).filter(({ start, end }) => end - start >= least);
}

function intersect(some: readonly Interval[], others: readonly Interval[], least: number): Interval[] {
  return some.flatMap((a) =>
    others
      .map((b) => ({ start: Math.max(a.start, b.start), end: Math.min(a.end, b.end) }))
      .filter(({ start, end }) => end - start >= least),
  );
}

/** Height of the least run of rows that columns are looked for in, in letters: among many runs, chance parts some short one. */
const fewestRows = 12;

/** The tallest run of rows, not all of them, that has columns. */
function tallestColumns(bands: readonly Band[], letter: number): { from: number; to: number } | undefined {
  const least = 1.3 * letter;
  const white = bands.map(({ parts }) => whiteOf(parts, least));
  let best: { from: number; to: number } | undefined;
  let tallest = 0;
  for (let from = 0; from < bands.length; from++) {
    let common = white[from];
    for (let to = from + 1; to <= bands.length; to++) {
      if (to > from + 1) common = intersect(common, white[to - 1], least);
      const height = bands[to - 1].end - bands[from].start;
      const hasCorridor = common.some(({ start, end }) => Number.isFinite(start) && Number.isFinite(end));
      if (height <= Math.max(tallest, fewestRows * letter) || to - from === bands.length || !hasCorridor) continue;
      const parts = bands.slice(from, to).flatMap((band) => band.parts);
      if (!cutColumns(parts, letter)) continue;
      tallest = height;
      best = { from, to };
    }
  }
  return best;
}

/**
 * Parts letters into blocks of one column, in reading order: by columns where a corridor parts the region, else the tallest run
 * of rows that has columns is taken out, and what is above and below it is parted in the same way.
 */
export function findBlocks(parts: readonly Component[], letter: number): Block[] {
  if (parts.length === 0) return [];
  const columns = cutColumns(parts, letter);
  if (columns) return columns.flatMap((column) => findBlocks(column, letter));
  const bands = bandsOf(
    parts,
    ({ top }) => top,
    ({ bottom }) => bottom,
  );
  const best = tallestColumns(bands, letter);
  if (!best) return [parts];
  const regions = [bands.slice(0, best.from), bands.slice(best.from, best.to), bands.slice(best.to)];
  return regions.flatMap((region) =>
    findBlocks(
      region.flatMap((band) => band.parts),
      letter,
    ),
  );
}

/** Rows through the middle of each line of a block: peaks of how much of the block's width letters take. */
function lineCentres(block: Block, letter: number): number[] {
  const [first] = bounds(block, 'top');
  const [, last] = bounds(block, 'bottom');
  const cover = new Float32Array(last - first + 1);
  for (const part of block) {
    for (let y = part.top; y < part.bottom; y++) cover[y - first] += Math.min(widthOf(part), 3 * letter);
  }
  // Maximal stretches above a share of the peak near them are lines; a valley parts two only if it is deep.
  const peaks: { at: number; value: number }[] = [];
  let valley = Number.POSITIVE_INFINITY;
  for (let y = 0; y < cover.length; y++) {
    const value = cover[y];
    const top = peaks.at(-1);
    if (!top) {
      peaks.push({ at: y, value });
    } else if (valley < 0.55 * Math.min(top.value, value) && y - top.at > 0.6 * letter) {
      peaks.push({ at: y, value });
      valley = Number.POSITIVE_INFINITY;
    } else if (value > top.value) {
      peaks[peaks.length - 1] = { at: y, value };
      valley = Number.POSITIVE_INFINITY;
    }
    valley = Math.min(valley, value);
  }
  // The middle of the plateau, not its first row.
  return peaks.map(({ at, value }) => {
    let end = at;
    while (end + 1 < cover.length && cover[end + 1] >= 0.8 * value) end++;
    return first + (at + end) / 2;
  });
}

/** The letters of each line of a block, from the top. */
export function linesOfBlock(block: Block, letter: number): Component[][] {
  const centres = lineCentres(block, letter);
  const lines: Component[][] = centres.map(() => []);
  for (const part of block) {
    const middle = (part.top + part.bottom) / 2;
    const crossed: number[] = [];
    let next = 0;
    for (; next < centres.length && centres[next] < part.bottom; next++) {
      if (centres[next] >= part.top) crossed.push(next);
    }
    if (crossed.length > 1) {
      // Two lines that touch: each has its share.
      for (const i of crossed) {
        const top = i === crossed[0] ? part.top : Math.round((centres[i - 1] + centres[i]) / 2);
        const bottom = i === crossed[crossed.length - 1] ? part.bottom : Math.round((centres[i] + centres[i + 1]) / 2);
        lines[i].push({ ...part, top, bottom });
      }
      continue;
    }
    const [before, after] = [centres[next - 1] ?? Number.NEGATIVE_INFINITY, centres[next] ?? Number.POSITIVE_INFINITY];
    lines[crossed[0] ?? (after - middle < middle - before ? next : next - 1)].push(part);
  }
  return lines.filter((line) => line.length > 0);
}
