import { altoFormat } from './alto.js';
import { hocrFormat } from './hocr.js';
import type { TextFormat } from './page.js';
import { jsonFormat, markdownFormat, txtFormat } from './text.js';

export const formatNames = ['txt', 'md', 'json', 'hocr', 'alto', 'pdf'] as const;
export type FormatName = (typeof formatNames)[number];

/** Formats of text by their names; a PDF is made by `createPdfWriter`, because it needs pictures. */
export const textFormats: Readonly<Record<Exclude<FormatName, 'pdf'>, TextFormat>> = {
  txt: txtFormat,
  md: markdownFormat,
  json: jsonFormat,
  hocr: hocrFormat,
  alto: altoFormat,
};

export const extensionOf = (format: FormatName): string => (format === 'pdf' ? 'pdf' : textFormats[format].extension);
