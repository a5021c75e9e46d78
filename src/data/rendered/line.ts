import type { Rng } from '../../core/rng.js';
import type { Box } from '../../image/pixels.js';
import { type Effects, noEffects, sampleEffects } from './effects.js';
import type { LoadedFace } from './faces.js';
import type { Lexicon, Split } from './lexicon.js';
import { chance, pick, sampleText } from './text.js';
import { withUnknownGlyphs } from './unknown.js';

/** Which lines to render, and how long they are. All but `seed` and `index` are part of a run's curriculum. */
export interface LineOptions {
  readonly minWords?: number;
  readonly maxWords?: number;
  readonly maxChars?: number;
  /** Width by height, at most, of the cropped line. Words are left out at its end until it fits. */
  readonly maxAspect?: number;
  /** Rows of the result: the crop is resized to them. Without it, the size is that of the drawn line. */
  readonly height?: number;
  /** Black on white without noise, blur, skew or neighbours. */
  readonly clean?: boolean;
  /** The share of lines that are clean where `clean` does not say it of all. Default 0. */
  readonly cleanShare?: number;
  /** The share of words with glyphs from outside the alphabet, which the text has as U+FFFD. Default 0. */
  readonly unknown?: number;
  readonly split?: Split;
}

/** One rendered line: gray pixels [height, width], the text to be read in it and where its ink is. */
export interface RenderedLine {
  readonly seed: number;
  readonly index: number;
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
  readonly text: string;
  readonly box: Box;
  /** The place across, in pixels, of the middle of each character of `text`. */
  readonly centres: Float32Array;
  /** Id of the font. */
  readonly face: string;
}

/** Everything about a line that chance decides, before any font is asked for its widths. */
export interface LinePlan {
  readonly face: LoadedFace;
  /** Font size in pixels. */
  readonly size: number;
  /** What is drawn, unknown glyphs as they are. */
  readonly text: string;
  /** Texts of the lines above and below, remnants of which the crop may show; empty for none. */
  readonly above: string;
  readonly below: string;
  /** Where those lines start, in em before this line's start. */
  readonly neighbourShift: number;
  /** Line pitch in em. */
  readonly pitch: number;
  /** In em. */
  readonly letterSpacing: number;
  readonly wordSpacing: number;
  /** Factor of the width. */
  readonly stretch: number;
  /** Radians, clockwise, for the longest line that may have it: drawing lessens it for long ones. */
  readonly angle: number;
  /** Space round the ink in em; below zero cuts. */
  readonly margins: { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number };
  /** How far the crop follows the font's own ascent and descent (1) and not the ink (0). */
  readonly fontExtent: number;
  readonly underline: boolean;
  /** Position of the line on the pixel grid. */
  readonly phaseX: number;
  readonly phaseY: number;
  readonly effects: Effects;
}

const between = (rng: Rng, low: number, high: number) => low + rng.next() * (high - low);

/** Decides a line. The same stream gives the same plan. */
export function planLine(
  rng: Rng,
  { minWords = 1, maxWords = 8, maxChars = 80, clean: allClean = false, cleanShare = 0, unknown = 0 }: LineOptions,
  { lexicon, faces }: { lexicon: Lexicon; faces: readonly LoadedFace[] },
): LinePlan {
  const clean = allClean || (cleanShare > 0 && chance(rng, cleanShare));
  const face = pick(rng, faces);
  const size = 13 * (44 / 13) ** rng.next();
  const write = (words: number, chars = maxChars) =>
    sampleText(rng, {
      lexicon,
      charset: face.charset,
      minWords: words,
      maxWords: Math.max(words, maxWords),
      maxChars: chars,
    });
  const written = write(minWords);
  const text =
    unknown > 0 ? withUnknownGlyphs(rng, written, { share: unknown, glyphs: face.unknownGlyphs, maxChars }) : written;
  const hasNeighbours = !clean && chance(rng, 0.5);
  const neighbour = () => (hasNeighbours && chance(rng, 0.8) ? write(Math.max(minWords, maxWords), maxChars + 30) : '');
  const skewed = !clean && chance(rng, 0.4);
  return {
    face,
    size,
    text,
    above: neighbour(),
    below: neighbour(),
    neighbourShift: rng.next() * 6,
    pitch: between(rng, 1.05, 1.6),
    letterSpacing: chance(rng, 0.15) ? between(rng, -0.03, 0.12) : 0,
    wordSpacing: chance(rng, 0.35) ? between(rng, -0.05, 0.6) : 0,
    stretch: !clean && chance(rng, 0.3) ? between(rng, 0.85, 1.15) : 1,
    angle: skewed ? (between(rng, -1.5, 1.5) * Math.PI) / 180 : 0,
    margins: {
      left: between(rng, 0, 0.5),
      top: between(rng, -0.02, 0.25),
      right: between(rng, 0, 0.5),
      bottom: between(rng, -0.02, 0.25),
    },
    fontExtent: chance(rng, 0.5) ? rng.next() : 0,
    underline: !clean && chance(rng, 0.015),
    phaseX: rng.next(),
    phaseY: rng.next(),
    effects: clean ? noEffects : sampleEffects(rng, size),
  };
}
