import { binarise, type InkMask, inverted, isDark, isNoise } from './binarise.js';
import { type Component, findComponents } from './components.js';
import { type Gray, grayFrom, histogramOf, levelAt } from './gray.js';
import { findBlocks, linesOfBlock, sortInk } from './layout.js';
import type { Box, Size } from './pixels.js';
import { estimateSkew, straighten } from './skew.js';

/** A piece of a line that fits the reader, and whether a space stands before it. */
export interface Segment {
  readonly box: Box;
  readonly spaceBefore: boolean;
}

/** A line of text: its ink's box on the straightened page, and what it belongs to. */
export interface TextLine {
  readonly box: Box;
  readonly block: number;
  readonly paragraph: number;
  readonly segments: readonly Segment[];
}

/** The lines of a page in reading order. */
export interface PageLines {
  /** The page, straightened and dark on light, that boxes refer to. */
  readonly page: Gray;
  /** The page was turned clockwise by so many degrees. */
  readonly skew: number;
  /** Text was light on dark. */
  readonly dark: boolean;
  readonly lines: readonly TextLine[];
}

export interface FindLinesOptions {
  /** Width of a segment by its height, at most. */
  readonly maxAspect?: number;
  /** Largest skew to look for, in degrees; 0 takes the page as it is. */
  readonly maxSkew?: number;
}

/** Below this a page is straight enough, and turning would only soften it. */
const leastSkew = 0.12;

type Draft = {
  extent: Component;
  words: readonly { left: number; right: number }[];
  gaps: readonly Gap[];
  block: number;
};
type Gap = { readonly from: number; readonly to: number };

function extentOf(parts: readonly Component[]): Component {
  const out = { ...parts[0] };
  for (const part of parts) {
    out.left = Math.min(out.left, part.left);
    out.right = Math.max(out.right, part.right);
    out.top = Math.min(out.top, part.top);
    out.bottom = Math.max(out.bottom, part.bottom);
  }
  return out;
}

/** Marks go to the line that is nearest, where one is near enough; what is alone on the page is dirt. */
function attachMarks(lines: Component[][], marks: readonly Component[], letter: number): void {
  const extents = lines.map(extentOf);
  for (const mark of marks) {
    const x = (mark.left + mark.right) / 2;
    const y = (mark.top + mark.bottom) / 2;
    let nearest = -1;
    let least = 0.75 * letter;
    extents.forEach(({ left, right, top, bottom }, i) => {
      const aside = Math.max(0, left - x, x - right);
      const away = Math.max(0, top - y, y - bottom) + 0.001 * Math.abs(y - (top + bottom) / 2) + aside / 4;
      if (away < least) {
        nearest = i;
        least = away;
      }
    });
    if (nearest >= 0) lines[nearest].push(mark);
  }
}

/** White gaps of a line, from the left. */
function gapsOf(parts: readonly Component[]): Gap[] {
  const sorted = parts.toSorted((a, b) => a.left - b.left);
  const gaps: Gap[] = [];
  let end = sorted[0].right;
  for (const { left, right } of sorted) {
    if (left > end) gaps.push({ from: end, to: left });
    end = Math.max(end, right);
  }
  return gaps;
}

const lengthOf = ({ from, to }: Gap) => to - from;

/** The gaps between words: those well above the gaps between letters. */
function wordGaps(gaps: readonly Gap[], height: number): Gap[] {
  if (gaps.length === 0) return [];
  const sizes = gaps.map((gap) => Math.max(0.06 * height, lengthOf(gap))).sort((a, b) => a - b);
  // Letters of one line are spaced alike: the greatest ratio of neighbours among the sorted gaps parts the two kinds.
  let cut = 0.2 * height;
  let greatest = 1.25;
  for (let i = 1; i < sizes.length; i++) {
    const middle = Math.sqrt(sizes[i] * sizes[i - 1]);
    const ratio = sizes[i] / sizes[i - 1];
    if (middle > 0.11 * height && middle < 0.6 * height && ratio > greatest) {
      greatest = ratio;
      cut = middle;
    }
  }
  return gaps.filter((gap) => lengthOf(gap) > cut);
}

/** Cuts a line at word gaps into segments of at most `maxAspect`; where a word alone is wider, at the widest gap in it. */
function cutSegments({ extent, gaps }: Draft, spaces: readonly Gap[], maxAspect: number): Segment[] {
  const height = extent.bottom - extent.top;
  const widest = maxAspect * height;
  const isSpace = new Set(spaces);
  const segments: Segment[] = [];
  const push = (left: number, right: number, spaceBefore: boolean) =>
    segments.push({ box: { left, top: extent.top, width: right - left, height }, spaceBefore });
  let left = extent.left;
  let spaceBefore = segments.length > 0;
  for (;;) {
    // A wide void is never part of a segment.
    const next = gaps.find((gap) => gap.from > left && lengthOf(gap) > 3 * height);
    const end = next ? next.from : extent.right;
    let cut = end - left > widest ? undefined : next;
    if (end - left > widest) {
      const within = gaps.filter((gap) => gap.from > left + 0.3 * widest && gap.from <= left + widest);
      const known = within.filter((gap) => isSpace.has(gap));
      cut = (known.length > 0 ? known : within).reduce<Gap | undefined>(
        // Between equals the later one, so that segments are long.
        (best, gap) => (best && lengthOf(best) > lengthOf(gap) * 1.15 ? best : gap),
        undefined,
      );
      if (!cut) {
        const hard = Math.floor(left + widest);
        cut = { from: hard, to: hard };
      }
    }
    push(left, cut ? cut.from : end, spaceBefore);
    if (!cut) return segments;
    spaceBefore = isSpace.has(cut) || lengthOf(cut) > 3 * height;
    left = cut.to;
  }
}

/** Whether a line begins a paragraph, by the line before it in its block. */
function beginsParagraph(
  before: Draft,
  line: Draft,
  block: { left: number; right: number; pitch: number },
  letter: number,
): boolean {
  const height = (draft: Draft) => draft.extent.bottom - draft.extent.top;
  const pitch = line.extent.bottom - before.extent.bottom;
  if (pitch > 1.35 * block.pitch + 0.15 * letter) return true;
  const indent = line.extent.left - block.left;
  if (indent > 0.9 * letter && before.extent.left - block.left < 0.5 * indent && indent < 12 * letter) return true;
  if (
    Math.max(height(before), height(line)) > 1.6 * Math.min(height(before), height(line)) &&
    pitch > 1.2 * block.pitch
  ) {
    return true;
  }
  // The first word would have had room at the end of the line before: it was not put there on purpose.
  const [word] = line.words;
  const space = median(before.words.slice(1).map(({ left }, i) => left - before.words[i].right)) || letter;
  return before.extent.right + space + letter + (word.right - word.left) < block.right;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

/** Numbers paragraphs through all blocks. */
function numberParagraphs(drafts: readonly Draft[], letter: number): number[] {
  const numbers: number[] = [];
  let paragraph = -1;
  const blocks = new Map<number, Draft[]>();
  for (const draft of drafts) blocks.set(draft.block, [...(blocks.get(draft.block) ?? []), draft]);
  for (const lines of blocks.values()) {
    const block = {
      left: Math.min(...lines.map(({ extent }) => extent.left)),
      right: Math.max(...lines.map(({ extent }) => extent.right)),
      pitch: median(lines.slice(1).map((line, i) => line.extent.bottom - lines[i].extent.bottom)),
    };
    lines.forEach((line, i) => {
      if (i === 0 || beginsParagraph(lines[i - 1], line, block, letter)) paragraph++;
      numbers.push(paragraph);
    });
  }
  return numbers;
}

function wordsOf(extent: Component, spaces: readonly Gap[]): { left: number; right: number }[] {
  const lefts = [extent.left, ...spaces.map(({ to }) => to)];
  const rights = [...spaces.map(({ from }) => from), extent.right];
  return lefts.map((left, i) => ({ left, right: rights[i] }));
}

/** The level of the paper, of which a page has much more than of ink: that of the pixel past seven tenths of the darker ones. */
const paperOf = ({ data }: Gray): number => levelAt(histogramOf(data), Math.floor(data.length * 0.7) + 1);

/** A straight page, dark on light, and its ink. */
function prepare(image: Gray, maxSkew: number): { page: Gray; mask: InkMask; skew: number; dark: boolean } {
  const dark = isDark(image);
  const page = dark ? inverted(image) : image;
  const mask = binarise(page);
  const skew = maxSkew <= 0 ? 0 : estimateSkew(mask, maxSkew);
  if (Math.abs(skew) < leastSkew) return { page, mask, skew: 0, dark };
  const paper = paperOf(page);
  const straight = straighten(page, skew, paper);
  return { page: straight, mask: binarise(straight), skew, dark };
}

/**
 * Finds the printed lines of a page, dark on light or light on dark, turned by a few degrees at most, in one or more columns.
 * Specks, rules and pictures are left out, and noise has no lines. Lines come in reading order; each is cut into segments for the reader.
 */
export function findLines(image: Gray, { maxAspect = 16, maxSkew = 6 }: FindLinesOptions = {}): PageLines {
  const { page, mask, skew, dark } = prepare(image, maxSkew);
  if (isNoise(mask)) return { page, skew, dark, lines: [] };
  const { letter, letters, marks } = sortInk(findComponents(mask), page);
  if (letter === 0) return { page, skew, dark, lines: [] };
  const parts: Component[][] = [];
  const blockOf: number[] = [];
  findBlocks(letters, letter).forEach((block, index) => {
    for (const line of linesOfBlock(block, letter)) {
      parts.push(line);
      blockOf.push(index);
    }
  });
  attachMarks(parts, marks, letter);
  const extents = parts.map(extentOf);
  const usual = median(extents.map(({ top, bottom }) => bottom - top));
  const drafts = parts.map((line, i): Draft & { spaces: Gap[] } => {
    const extent = extents[i];
    const gaps = gapsOf(line);
    // A line of low letters only is spaced like its neighbours.
    const spaces = wordGaps(gaps, Math.max(extent.bottom - extent.top, usual));
    return { extent, gaps, spaces, words: wordsOf(extent, spaces), block: blockOf[i] };
  });
  const paragraphs = numberParagraphs(drafts, letter);
  const lines = drafts.map((draft, i): TextLine => {
    const { left, top, right, bottom } = draft.extent;
    return {
      box: { left, top, width: right - left, height: bottom - top },
      block: draft.block,
      paragraph: paragraphs[i],
      segments: cutSegments(draft, draft.spaces, maxAspect),
    };
  });
  return { page, skew, dark, lines };
}

/** The pixels under a box with a margin round it, as a share of its height; outside the page, its nearest pixels. */
export function cropWithMargin({ width, height, data }: Gray, box: Box, margin = 0.12): Gray {
  const space = Math.max(1, Math.round(box.height * margin));
  const out = { width: box.width + 2 * space, height: box.height + 2 * space };
  const pixels = new Uint8Array(out.width * out.height);
  const left = box.left - space;
  // Columns that the page has, and where they stand in the crop.
  const [first, last] = [left, left + out.width].map((x) => Math.min(width, Math.max(0, x)));
  const [begin, end] = [first - left, last - left].map((x) => Math.min(out.width, Math.max(0, x)));
  for (let y = 0; y < out.height; y++) {
    const row = Math.min(height - 1, Math.max(0, box.top - space + y)) * width;
    const line = pixels.subarray(y * out.width, (y + 1) * out.width);
    line.fill(data[row], 0, begin);
    line.set(data.subarray(row + first, row + last), begin);
    line.fill(data[row + width - 1], end);
  }
  return grayFrom(out.width, out.height, pixels);
}

/** The upright box on the page as it was, round a box on the straightened page. */
export function boxOnPage(box: Box, { page, skew }: { readonly page: Size; readonly skew: number }): Box {
  if (skew === 0) return box;
  const sin = Math.sin((skew * Math.PI) / 180);
  const cos = Math.cos((skew * Math.PI) / 180);
  const xs: number[] = [];
  const ys: number[] = [];
  for (const x of [box.left, box.left + box.width]) {
    for (const y of [box.top, box.top + box.height]) {
      const dx = x - page.width / 2;
      const dy = y - page.height / 2;
      xs.push(page.width / 2 + dx * cos - dy * sin);
      ys.push(page.height / 2 + dx * sin + dy * cos);
    }
  }
  const left = Math.floor(Math.min(...xs));
  const top = Math.floor(Math.min(...ys));
  return { left, top, width: Math.ceil(Math.max(...xs)) - left, height: Math.ceil(Math.max(...ys)) - top };
}
