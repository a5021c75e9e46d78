/** A page for a model that reads one line at a time: cut into segments, and put together again from their texts. */

import { type Gray, grayOfPixels, resizeGray } from '../image/gray.js';
import { boxOnPage, cropWithMargin, findLines, type TextLine } from '../image/lines.js';
import type { Pixels, Size } from '../image/pixels.js';
import type { ReadLine } from '../image/read-line.js';

interface Piece {
  readonly line: number;
  readonly spaceBefore: boolean;
  /** As high as the tower's input, and no wider. */
  readonly image: Gray;
}

export interface LinePlan {
  /** The size of the straightened page, how far it was turned, and its lines: without its pixels. */
  readonly page: { readonly page: Size; readonly skew: number; readonly lines: readonly TextLine[] };
  readonly pieces: readonly Piece[];
}

/** Space left round a line's ink, as a share of its height. */
const margin = 0.12;

/**
 * How much of the input's width the longest piece takes. Nine lines of ten that are learnt from take less, and past the lengths it
 * knows a reader loses its place.
 */
const usedWidth = 0.9;

/** Lines of a page in reading order, cut into pieces that fit `size`. */
export function planLines(image: Pixels, size: Size): LinePlan {
  // A piece's own width and height, such that with its margins it is no wider than the input.
  const maxAspect = ((usedWidth * size.width) / size.height) * (1 + 2 * margin) - 2 * margin;
  const page = findLines(grayOfPixels(image), { maxAspect });
  const pieces = page.lines.flatMap(({ segments }, line) =>
    segments.map(({ box, spaceBefore }): Piece => {
      const crop = cropWithMargin(page.page, box, margin);
      const width = Math.max(1, Math.min(size.width, Math.round((crop.width * size.height) / crop.height)));
      return { line, spaceBefore, image: resizeGray(crop, { width, height: size.height }) };
    }),
  );
  const { skew, lines } = page;
  return { page: { page: { width: page.page.width, height: page.page.height }, skew, lines }, pieces };
}

/** What was read of one piece, and how sure of it the model was, from 0 to 1. */
export interface PieceReading {
  readonly text: string;
  readonly confidence: number;
}

/** Puts a page together again while its pieces are read, in their order. */
export interface PageText {
  /** The next piece's reading. Returns the text that is complete now and was not before: whole lines. */
  push(reading: PieceReading): string;
  /** Lines that are complete. */
  readonly lines: readonly ReadLine[];
  /** The same lines of which only the first `length` characters of the page's text are wanted. */
  linesWithin(length: number): readonly ReadLine[];
}

/** Lines of a plan in reading order; a blank line stands between paragraphs. A line is as sure as its characters on average. */
export function createPageText({ page, pieces }: LinePlan): PageText {
  const lines: ReadLine[] = [];
  /** Where in the page's text each line begins. */
  const starts: number[] = [];
  let total = 0;
  let read = 0;
  let text = '';
  let characters = 0;
  let sureness = 0;
  const finishLine = (index: number): string => {
    const { box, paragraph, block } = page.lines[index];
    const before = lines.at(-1);
    const confidence = characters === 0 ? 0 : sureness / characters;
    lines.push({ text, confidence, box: boxOnPage(box, page), paragraph, block });
    const separator =
      before === undefined ? '' : before.paragraph === paragraph && before.block === block ? '\n' : '\n\n';
    const whole = separator + text;
    starts.push(total + separator.length);
    total += whole.length;
    text = '';
    characters = 0;
    sureness = 0;
    return whole;
  };
  return {
    lines,
    linesWithin: (length) =>
      lines.flatMap((line, i) => {
        if (line.text.length === 0 ? starts[i] > length : starts[i] >= length) return [];
        return [{ ...line, text: line.text.slice(0, length - starts[i]) }];
      }),
    push(reading) {
      const { line, spaceBefore } = pieces[read++];
      text += text !== '' && spaceBefore ? ` ${reading.text}` : reading.text;
      characters += reading.text.length;
      sureness += reading.text.length * reading.confidence;
      return pieces[read]?.line === line ? '' : finishLine(line);
    },
  };
}
