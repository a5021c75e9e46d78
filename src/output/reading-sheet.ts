import type { ReadLine } from '../image/read-line.js';
import { escapeHtml } from './html.js';

/** A picture and what was read of it. */
export interface SheetReading {
  readonly name: string;
  /** A data URI. */
  readonly picture: string;
  /** Of the picture that was read: boxes are in its pixels. */
  readonly width: number;
  readonly height: number;
  readonly text: string;
  readonly lines?: readonly ReadLine[];
  readonly warnings: readonly string[];
}

const style = `body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}h1{font-size:1.3rem}h2{font-size:1rem;overflow-wrap:anywhere}
section{display:grid;grid-template-columns:1fr 1fr;gap:1.5rem;align-items:start;margin-bottom:2.5rem}figure{margin:0;position:relative}
img,svg{width:100%;display:block;border-radius:3px}svg{position:absolute;inset:0;height:100%}rect{fill:#2a7fff;fill-opacity:.06;stroke:#2a7fff;stroke-width:1;vector-effect:non-scaling-stroke}
rect:hover{fill-opacity:.3}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:inherit}.low{color:#b3261e}small{color:#666}
@media(max-width:45rem){section{grid-template-columns:1fr}}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.low{color:#ff8a80}small{color:#999}}`;

/** Confidence below which a line is marked. */
const lowConfidence = 0.6;

const percent = (confidence: number) => `${Math.round(100 * confidence)} %`;

function boxes({ width, height, lines = [] }: SheetReading): string {
  const rects = lines.map(
    ({ box, text, confidence }) =>
      `<rect x="${box.left}" y="${box.top}" width="${box.width}" height="${box.height}"><title>${escapeHtml(text)} (${percent(confidence)})</title></rect>`,
  );
  return rects.length === 0
    ? ''
    : `<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none">${rects.join('')}</svg>`;
}

/** Line by line, a blank one between paragraphs; what the model was not sure of is marked. */
function textOf({ text, lines }: SheetReading): string {
  if (!lines) return escapeHtml(text);
  return lines
    .map((line, i) => {
      const before = lines[i - 1];
      const gap = before && (before.paragraph !== line.paragraph || before.block !== line.block) ? '\n' : '';
      const shown = escapeHtml(line.text);
      if (line.confidence >= lowConfidence) return gap + shown;
      return `${gap}<span class="low" title="${percent(line.confidence)}">${shown}</span>`;
    })
    .join('\n');
}

/** A page of pictures beside their texts that needs no other file and runs nothing: texts are text, pictures are data URIs. */
export function readingSheetHtml(title: string, readings: readonly SheetReading[]): string {
  const sections = readings.map((reading) => {
    const warnings = reading.warnings.map((warning) => `<p><small>${escapeHtml(warning)}</small></p>`).join('');
    return `<h2>${escapeHtml(reading.name)}</h2>
<section><figure><img src="${escapeHtml(reading.picture)}" alt="${escapeHtml(reading.name)}">${boxes(reading)}</figure>
<div><pre>${textOf(reading)}</pre>${warnings}</div></section>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${style}</style></head><body><h1>${escapeHtml(title)}</h1>
${sections.join('\n') || '<p>No pictures.</p>'}
</body></html>
`;
}
