import type { Box } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';

/** A word and its place. */
export interface Word {
  readonly text: string;
  readonly box: Box;
}

const narrow = new Set("iljtfrI.,:;!'|()[]‘’`");
const wide = new Set('mwMW@%—…');

/** About how wide a character is printed, in shares of a common letter. */
const widthOf = (character: string): number => (narrow.has(character) ? 0.55 : wide.has(character) ? 1.5 : 1);

/** Words of a text, their widths and the spaces between them, as shares of the whole. */
function spread(text: string): { text: string; from: number; to: number }[] {
  const words: { text: string; from: number; to: number }[] = [];
  let at = 0;
  for (const [i, word] of text.trim().split(/\s+/u).entries()) {
    if (word === '') continue;
    if (i > 0) at += 0.55;
    const from = at;
    for (const character of word) at += widthOf(character);
    words.push({ text: word, from, to: at });
  }
  return words.map((word) => ({ ...word, from: word.from / at, to: word.to / at }));
}

/**
 * The words of a line with their places. A line's box is measured; within it words are placed by the usual widths of their
 * letters, so their left and right edges are estimates.
 */
export function wordsOf({ text, box }: ReadLine): Word[] {
  return spread(text).map((word) => {
    const left = box.left + Math.round(word.from * box.width);
    const right = box.left + Math.round(word.to * box.width);
    return { text: word.text, box: { ...box, left, width: Math.max(1, right - left) } };
  });
}

/** The upright box round several. */
export function boxRound(boxes: readonly Box[]): Box {
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const right = Math.max(...boxes.map((box) => box.left + box.width));
  const bottom = Math.max(...boxes.map((box) => box.top + box.height));
  return { left, top, width: right - left, height: bottom - top };
}
