/** What every format is made from: a document's pages as they were read. */
import type { Size } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';

/** A page as it was read, or why it was not. */
export interface PageOutput extends Size {
  /** From 1. */
  readonly number: number;
  /** Pixels an inch: what makes its size on paper. */
  readonly dpi: number;
  readonly text: string;
  /** With places; without them only the text is known. */
  readonly lines?: readonly ReadLine[];
  readonly warnings: readonly string[];
  /** The share of the lines with ink that text was read for, from 0 to 1. */
  readonly coverage?: number;
  /** Attempts that were made anew, of the page or of lines of it. */
  readonly retries?: number;
  /** Why the page could not be read. */
  readonly error?: string;
  /** Where the text comes from, if it was not read: the document's own text layer. */
  readonly origin?: 'text-layer';
  /** Seconds a stage took. */
  readonly timing?: Readonly<Record<string, number>>;
}

/** What read a document. */
export interface ReaderInfo {
  readonly name: string;
  /** SHA-256 of the weights. */
  readonly weights: string;
  /** Of the decoder's weights. */
  readonly precision: string;
  /** Of the tower's, where it is not float32. */
  readonly towerPrecision?: string;
  /** SHA-256 of everything that is done to a page before the model sees it. */
  readonly preprocessing: string;
}

export interface DocumentInfo {
  /** The file as it was named. */
  readonly source: string;
  readonly pages: number;
  readonly reader: ReaderInfo;
  /** The program and its version. */
  readonly generator: string;
}

/** A format of text: a document comes out piece by piece, so that none has to be in memory as a whole. */
export interface TextFormat {
  readonly extension: string;
  begin(document: DocumentInfo): string;
  /** Pages come in order. */
  page(page: PageOutput, document: DocumentInfo): string;
  end(document: DocumentInfo): string;
}

/** Lines that belong together, in reading order. */
export interface Paragraph {
  readonly block: number;
  readonly lines: readonly ReadLine[];
}

export function paragraphsOf(lines: readonly ReadLine[]): Paragraph[] {
  const paragraphs: { block: number; paragraph: number; lines: ReadLine[] }[] = [];
  for (const line of lines) {
    const last = paragraphs.at(-1);
    if (last && last.block === line.block && last.paragraph === line.paragraph) last.lines.push(line);
    else paragraphs.push({ block: line.block, paragraph: line.paragraph, lines: [line] });
  }
  return paragraphs;
}
