/** A reading as files, in the formats of bulk reading. */
import { hocrFormat } from '../output/document/hocr.js';
import type { DocumentInfo, PageOutput, TextFormat } from '../output/document/page.js';
import { jsonFormat, markdownFormat, txtFormat } from '../output/document/text.js';
import type { PageReading } from './reading.js';

interface Download {
  readonly format: TextFormat;
  readonly type: string;
}

/** By the names that visitors choose from. */
export const downloads: Readonly<Record<string, Download>> = {
  Text: { format: txtFormat, type: 'text/plain' },
  Markdown: { format: markdownFormat, type: 'text/markdown' },
  JSON: { format: jsonFormat, type: 'application/json' },
  hOCR: { format: hocrFormat, type: 'text/html' },
};

/** A picture that was read. */
export interface ReadDocument {
  /** The picture's file name. */
  readonly name: string;
  /** 0 × 0 where the browser cannot show it. */
  readonly size: { readonly width: number; readonly height: number };
  readonly reading: PageReading;
}

/** The whole file in a format. */
export function writeDocument({ format }: Download, { name, size, reading }: ReadDocument): string {
  // The page does not know which weights read: what it cannot say is left empty.
  const reader = { name: '', weights: '', precision: '', preprocessing: '' };
  const document: DocumentInfo = { source: name, pages: 1, reader, generator: 'varyclip' };
  const { text, lines, warnings } = reading;
  const page: PageOutput = { ...size, number: 1, dpi: 72, text, warnings, ...(lines.length > 0 && { lines }) };
  return format.begin(document) + format.page(page, document) + format.end(document);
}

/** Gives the visitor a file. */
export function saveFile(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken hold of the contents by the next turn.
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
