/** A page for a model that reads one line at a time: cut into segments, and put together again from their texts. */

import { type Gray, grayOfPixels, resizeGray } from '../image/gray.js';
import { boxOnPage, cropWithMargin, findLines, type PageLines } from '../image/lines.js';
import type { Box, Pixels, Size } from '../image/pixels.js';

/** One line as it was read: its upright box on the page, and which paragraph and block it belongs to. */
export interface ReadLine {
  readonly text: string;
  readonly box: Box;
  readonly paragraph: number;
  readonly block: number;
}

interface Piece {
  readonly line: number;
  readonly spaceBefore: boolean;
  /** As high as the tower's input, and no wider. */
  readonly image: Gray;
}

export interface LinePlan {
  readonly page: PageLines;
  readonly pieces: readonly Piece[];
}

/** Space left round a line's ink, as a share of its height. */
const margin = 0.12;

/** Lines of a page in reading order, cut into pieces that fit `size`. */
export function planLines(image: Pixels, size: Size): LinePlan {
  // A piece's own width and height, such that with its margins it is no wider than the input.
  const maxAspect = (size.width / size.height) * (1 + 2 * margin) - 2 * margin;
  const page = findLines(grayOfPixels(image), { maxAspect });
  const pieces = page.lines.flatMap(({ segments }, line) =>
    segments.map(({ box, spaceBefore }): Piece => {
      const crop = cropWithMargin(page.page, box, margin);
      const width = Math.max(1, Math.min(size.width, Math.round((crop.width * size.height) / crop.height)));
      return { line, spaceBefore, image: resizeGray(crop, { width, height: size.height }) };
    }),
  );
  return { page, pieces };
}

/** The texts of a plan's pieces as lines; a blank line stands between paragraphs. */
export function joinLines(
  { page, pieces }: LinePlan,
  texts: readonly string[],
): { readonly text: string; readonly lines: readonly ReadLine[] } {
  const joined = page.lines.map(() => '');
  pieces.forEach(({ line, spaceBefore }, i) => {
    joined[line] += joined[line] !== '' && spaceBefore ? ` ${texts[i]}` : texts[i];
  });
  const lines = page.lines.map(
    ({ box, paragraph, block }, i): ReadLine => ({ text: joined[i], box: boxOnPage(box, page), paragraph, block }),
  );
  let text = '';
  lines.forEach((line, i) => {
    if (i > 0) text += line.paragraph === lines[i - 1].paragraph && line.block === lines[i - 1].block ? '\n' : '\n\n';
    text += line.text;
  });
  return { text, lines };
}
