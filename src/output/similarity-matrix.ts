import { escapeXml } from './document/xml.js';
import { escapeHtml } from './html.js';

/** An image of the matrix: a column. */
export interface MatrixImage {
  readonly name: string;
  /** A data URI. */
  readonly thumbnail: string;
}

const cell = 96;
const gap = 8;
const fontSize = 14;

/** Yellow for the highest value of all, dark blue for the lowest. */
function cellColour(level: number): { readonly fill: string; readonly text: string } {
  const mix = (low: number, high: number) => Math.round(low + level * (high - low));
  return {
    fill: `rgb(${mix(38, 250)},${mix(54, 222)},${mix(120, 84)})`,
    text: level > 0.55 ? '#222' : '#fff',
  };
}

/** The lowest and the highest of values, which may be more than a call takes arguments. */
function rangeOf(values: readonly number[]): { readonly low: number; readonly high: number } {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return { low, high };
}

/**
 * Cosines of texts and images as a picture, as in the notebook of openai/CLIP: images as columns, texts as rows, a number in each
 * cell. `cosines` is [texts][images]. It needs no other file.
 */
export function similarityMatrixSvg(
  images: readonly MatrixImage[],
  texts: readonly string[],
  cosines: readonly (readonly number[])[],
): string {
  // About as wide as the letters of a sans-serif font are on average.
  const margin = gap + Math.ceil(0.56 * fontSize * rangeOf(texts.map((text) => [...text].length)).high);
  const [width, height] = [margin + images.length * cell + gap, (texts.length + 1) * cell + 2 * gap];
  const { low, high } = rangeOf(cosines.flat());
  const pictures = images.map(({ name, thumbnail }, i) => {
    const place = `x="${margin + i * cell + 4}" y="${gap}" width="${cell - 8}" height="${cell - 8}"`;
    return `<image href="${escapeXml(thumbnail)}" ${place} preserveAspectRatio="xMidYMid meet"><title>${escapeXml(name)}</title></image>`;
  });
  const rows = texts.map((text, row) => {
    const y = gap + (row + 1) * cell;
    const label = `<text x="${margin - gap}" y="${y + cell / 2}" text-anchor="end">${escapeXml(text)}</text>`;
    const cells = cosines[row].map((value, i) => {
      const { fill, text: ink } = cellColour(high > low ? (value - low) / (high - low) : 1);
      const x = margin + i * cell;
      return `<rect x="${x}" y="${y}" width="${cell}" height="${cell}" fill="${fill}"/><text x="${x + cell / 2}" y="${y + cell / 2}" text-anchor="middle" fill="${ink}">${value.toFixed(2)}</text>`;
    });
    return [label, ...cells].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui,sans-serif" font-size="${fontSize}" dominant-baseline="middle">
<rect width="100%" height="100%" fill="#fff"/>
${[...pictures, ...rows].join('\n')}
</svg>
`;
}

/** The same as a page. */
export function similarityMatrixHtml(svg: string, title: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title></head><body>
${svg}</body></html>
`;
}
