import type { Rng } from '../../core/rng.js';
import type { Gray } from '../../image/gray.js';
import type { Box } from '../../image/pixels.js';
import { type Effects, noEffects } from './effects.js';
import type { Face, FaceStyle, LoadedFace } from './faces.js';
import type { Lexicon, Split } from './lexicon.js';
import { chance, pick, sampleSentence, sampleText } from './text.js';

/** Which page to render. What is not given is a function of (seed, index). */
export interface PageOptions {
  readonly columns?: 1 | 2;
  /** Size of the running text in points. */
  readonly pt?: number;
  readonly dpi?: number;
  /** Names of the families to choose from; all of the split without it. */
  readonly families?: readonly string[];
  readonly split?: Split;
  /** Width and height in points; A4 without it. */
  readonly paper?: { readonly width: number; readonly height: number };
  /** Lines of a column, at most. */
  readonly maxLines?: number;
  /** Turned clockwise by so many degrees. */
  readonly skew?: number;
  /** Ink, noise and so on; black on white without it. */
  readonly effects?: Partial<Effects>;
  /** A headline over all columns, and headings among the paragraphs. */
  readonly headings?: boolean;
}

/** One line of a rendered page: the box of its ink in pixels, on a skewed page the upright box round it. */
export interface PageLine {
  readonly text: string;
  readonly box: Box;
  readonly paragraph: number;
  readonly column: number;
}

/** A rendered page: lines and paragraphs in reading order. */
export interface RenderedPage {
  readonly image: Gray;
  /** Lines end with a newline; a blank line stands between paragraphs. */
  readonly text: string;
  readonly lines: readonly PageLine[];
  readonly paragraphs: readonly string[];
  readonly family: string;
  readonly dpi: number;
  readonly columns: number;
  readonly skew: number;
}

/** A line to draw: everything in pixels, (x, y) the start of its baseline. */
export interface PlacedLine {
  readonly text: string;
  readonly x: number;
  readonly y: number;
  readonly style: FaceStyle;
  readonly size: number;
  /** Added to each space. */
  readonly wordSpacing: number;
  readonly paragraph: number;
  readonly column: number;
}

/** A page before it is drawn. */
export interface PagePlan {
  readonly width: number;
  readonly height: number;
  readonly family: string;
  readonly dpi: number;
  readonly columns: number;
  readonly skew: number;
  readonly effects: Effects;
  readonly lines: readonly PlacedLine[];
}

/** Width of a text in pixels. */
export type Measure = (text: string, style: FaceStyle, size: number) => number;

interface Column {
  readonly left: number;
  readonly width: number;
}

interface Setting {
  readonly size: number;
  readonly pitch: number;
  readonly justified: boolean;
  readonly indent: number;
  readonly gap: number;
  readonly bottom: number;
  readonly maxLines: number;
}

/** Fills lines with words, each as many as fit. */
function breakLines(text: string, widthOf: (line: number) => number, measure: (text: string) => number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (line !== '' && measure(longer) > widthOf(lines.length)) {
      lines.push(line);
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line];
}

/** Sets paragraphs below `top` until the column is full. */
function fillColumn(
  rng: Rng,
  column: Column & { readonly index: number; readonly top: number; readonly firstParagraph: number },
  setting: Setting,
  { write, writeHeading, measure }: { write: () => string; writeHeading?: () => string; measure: Measure },
): PlacedLine[] {
  const { size, pitch, justified, indent, gap, bottom, maxLines } = setting;
  const placed: PlacedLine[] = [];
  let y = column.top + size;
  let paragraph = column.firstParagraph;
  const put = (text: string, style: FaceStyle, start: number, wordSpacing: number) => {
    placed.push({ text, x: column.left + start, y, style, size, wordSpacing, paragraph, column: column.index });
    y += pitch;
  };
  const full = () => y > bottom || placed.length >= maxLines;
  while (!full()) {
    if (writeHeading && chance(rng, 0.18)) {
      const [heading] = breakLines(
        writeHeading(),
        () => column.width,
        (text) => measure(text, 'bold', size),
      );
      put(heading, 'bold', 0, 0);
      y += gap > 0 ? gap : pitch * 0.4;
      paragraph++;
      if (full()) break;
    }
    const starts = (line: number) => (line === 0 ? indent : 0);
    const lines = breakLines(
      write(),
      (line) => column.width - starts(line),
      (text) => measure(text, 'regular', size),
    );
    for (let i = 0; i < lines.length && !full(); i++) {
      const spare = column.width - starts(i) - measure(lines[i], 'regular', size);
      const spaces = lines[i].split(' ').length - 1;
      const spread = justified && i < lines.length - 1 && spaces > 0 && spare > 0 ? spare / spaces : 0;
      put(lines[i], 'regular', starts(i), spread);
    }
    paragraph++;
    y += gap;
  }
  return placed;
}

const a4 = { width: 595, height: 842 };

/** Decides the family of a page: the first draw of its stream. */
export function pickFamily(rng: Rng, faces: readonly LoadedFace[], families?: readonly string[]): LoadedFace {
  const regular = faces.filter(({ family, style }) => style === 'regular' && (families?.includes(family.name) ?? true));
  return pick(rng, regular);
}

/** Sets a page. The same stream, options and font widths give the same page. */
export function planPage(
  rng: Rng,
  options: PageOptions,
  face: LoadedFace,
  lexicon: Lexicon,
  measure: Measure,
): PagePlan {
  const columns = options.columns ?? (chance(rng, 0.5) ? 1 : 2);
  const pt = options.pt ?? rng.integer(10, 15);
  const dpi = options.dpi ?? pick(rng, [150, 200]);
  const { paper = a4, headings = chance(rng, 0.5), maxLines = Infinity, skew = 0, split: _ } = options;
  const width = Math.round((paper.width * dpi) / 72);
  const height = Math.round((paper.height * dpi) / 72);
  const size = (pt * dpi) / 72;
  const margin = Math.round(width * (0.07 + rng.next() * 0.05));
  const gutter = columns === 2 ? size * (2 + rng.next() * 1.5) : 0;
  const columnWidth = (width - 2 * margin - gutter) / columns;
  const pitch = size * (1.2 + rng.next() * 0.35);
  const indented = chance(rng, 0.5);
  const setting: Setting = {
    size,
    pitch,
    justified: chance(rng, 0.6),
    indent: indented ? size * (1 + rng.next()) : 0,
    gap: indented ? 0 : pitch * (0.45 + rng.next() * 0.5),
    bottom: height - margin,
    maxLines,
  };
  const charset = face.charset;
  const write = () =>
    Array.from({ length: rng.integer(2, 6) }, () => sampleSentence(rng, { lexicon, charset })).join(' ');
  const titleOptions = { lexicon, charset, minWords: 2, maxWords: 5, maxChars: 36 };
  const writeHeading = () => sampleText(rng, titleOptions);
  const lines: PlacedLine[] = [];
  let top = margin;
  if (headings) {
    const titleSize = size * (1.4 + rng.next() * 0.6);
    const fits = (text: string) => measure(text, 'bold', titleSize);
    const [text] = breakLines(writeHeading(), () => width - 2 * margin, fits);
    lines.push({
      text,
      x: margin,
      y: top + titleSize,
      style: 'bold',
      size: titleSize,
      wordSpacing: 0,
      paragraph: 0,
      column: 0,
    });
    top += titleSize * 1.9;
  }
  for (let index = 0; index < columns; index++) {
    const firstParagraph = (lines.at(-1)?.paragraph ?? -1) + 1;
    const column = { left: margin + index * (columnWidth + gutter), width: columnWidth, index, top, firstParagraph };
    lines.push(...fillColumn(rng, column, setting, headings ? { write, writeHeading, measure } : { write, measure }));
  }
  const effects = { ...noEffects, ...options.effects };
  return { width, height, family: face.family.name, dpi, columns, skew, effects, lines };
}

/** The texts of a page's paragraphs, their lines joined by `joint`. */
export function joinParagraphs(lines: readonly { text: string; paragraph: number }[], joint: string): string[] {
  const paragraphs = new Map<number, string>();
  for (const { text, paragraph } of lines) {
    const before = paragraphs.get(paragraph);
    paragraphs.set(paragraph, before === undefined ? text : before + joint + text);
  }
  return [...paragraphs.values()];
}

/** Finds a family's face of a style, or its regular one. */
export function faceOfStyle<T extends Face>(faces: readonly T[], family: string, style: FaceStyle): T {
  const own = faces.filter((face) => face.family.name === family);
  return own.find((face) => face.style === style) ?? own[0];
}
