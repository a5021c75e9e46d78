import type { Box } from '../../image/pixels.js';
import { type PageOutput, type Paragraph, paragraphsOf, type TextFormat } from './page.js';
import { boxRound, wordsOf } from './words.js';
import { escapeXml } from './xml.js';

const bbox = ({ left, top, width, height }: Box) => `bbox ${left} ${top} ${left + width} ${top + height}`;

function paragraphHtml({ lines }: Paragraph, page: number, first: number): string {
  const spans = lines.map((line, i) => {
    const id = `${page}_${first + i}`;
    const words = wordsOf(line).map(
      ({ text, box }, w) =>
        `<span class="ocrx_word" id="word_${id}_${w + 1}" title="${bbox(box)}; x_wconf ${Math.round(100 * line.confidence)}">${escapeXml(text)}</span>`,
    );
    return `    <span class="ocr_line" id="line_${id}" title="${bbox(line.box)}">${words.join(' ')}</span>`;
  });
  const box = boxRound(lines.map((line) => line.box));
  return `   <p class="ocr_par" id="par_${page}_${first}" title="${bbox(box)}">\n${spans.join('\n')}\n   </p>`;
}

function pageHtml({ number, width, height, lines, text, dpi, error }: PageOutput, source: string): string {
  const image = source.replace(/"/g, "'");
  const title = `image "${image}"; ${bbox({ left: 0, top: 0, width, height })}; ppageno ${number - 1}; scan_res ${dpi} ${dpi}`;
  const areas: string[] = [];
  let line = 1;
  let area: Paragraph[] = [];
  const close = () => {
    if (area.length === 0) return;
    const box = boxRound(area.flatMap((paragraph) => paragraph.lines.map((each) => each.box)));
    const first = line;
    const inner = area.map((paragraph) => {
      const html = paragraphHtml(paragraph, number, line);
      line += paragraph.lines.length;
      return html;
    });
    areas.push(
      `  <div class="ocr_carea" id="block_${number}_${first}" title="${bbox(box)}">\n${inner.join('\n')}\n  </div>`,
    );
    area = [];
  };
  for (const paragraph of paragraphsOf(lines ?? [])) {
    if (area.length > 0 && area[0].block !== paragraph.block) close();
    area.push(paragraph);
  }
  close();
  if (!lines && text !== '') areas.push(`  <p class="ocr_par" id="par_${number}_1">${escapeXml(text)}</p>`);
  if (error !== undefined) areas.push(`  <!-- ${escapeXml(error).replace(/--+/g, '-')} -->`);
  return ` <div class="ocr_page" id="page_${number}" title="${escapeXml(title)}">\n${areas.map((each) => `${each}\n`).join('')} </div>\n`;
}

/** hOCR 1.2: pages, areas, paragraphs, lines and words in XHTML. */
export const hocrFormat: TextFormat = {
  extension: 'hocr',
  begin: ({ source, pages, generator }) => `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<title>${escapeXml(source)}</title>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<meta name="ocr-system" content="${escapeXml(generator)}" />
<meta name="ocr-capabilities" content="ocr_page ocr_carea ocr_par ocr_line ocrx_word ocrp_wconf" />
<meta name="ocr-number-of-pages" content="${pages}" />
</head>
<body>
`,
  page: (page, { source }) => pageHtml(page, source),
  end: () => '</body>\n</html>\n',
};
