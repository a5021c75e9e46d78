import { type PageOutput, paragraphsOf, type TextFormat } from './page.js';

/** Plain text; a form feed ends every page but the last, as pdftotext writes it. */
export const txtFormat: TextFormat = {
  extension: 'txt',
  begin: () => '',
  page: ({ number, text }) => `${number > 1 ? '\f' : ''}${text === '' || text.endsWith('\n') ? text : `${text}\n`}`,
  end: () => '',
};

/** Signs that would mean something to Markdown where they stand. */
function escapeMarkdown(text: string): string {
  return text
    .replace(/[\\`*_[\]<>|~]/g, '\\$&')
    .replace(/&(?=#?\w+;)/g, '\\&')
    .replace(/^([#=]+)(?=\s|$)/, '\\$1')
    .replace(/^([-+])(?=\s|$|[-+])/, '\\$1')
    .replace(/^(\d{1,9})([.)])(?=\s|$)/, '$1\\$2')
    .replace(/!(?=\\\[)/g, '\\!');
}

/** Paragraphs whose letters are so many times as high as the page's usual ones are headings, of level 1 and 2. */
const [titleHeight, headingHeight] = [1.7, 1.3];
const longestHeading = 3;

/** The page's usual height of a line: the median over lines. */
function usualHeight({ lines = [] }: PageOutput): number {
  const heights = lines.map(({ box }) => box.height).sort((a, b) => a - b);
  return heights[heights.length >> 1] ?? 0;
}

function markdownOf(page: PageOutput): string {
  if (!page.lines) return page.text.trimEnd();
  const usual = usualHeight(page);
  return paragraphsOf(page.lines)
    .map(({ lines }) => {
      const text = escapeMarkdown(
        lines
          .map((line) => line.text.trim())
          .join(' ')
          .trim(),
      );
      const height = lines.reduce((sum, { box }) => sum + box.height, 0) / lines.length / usual;
      if (text === '' || lines.length > longestHeading || height < headingHeight) return text;
      return `${height >= titleHeight ? '#' : '##'} ${text}`;
    })
    .filter((text) => text !== '')
    .join('\n\n');
}

/** Paragraphs, and headings by their size; a rule between pages. Whatever was read shows as it was read: nothing of it is markup. */
export const markdownFormat: TextFormat = {
  extension: 'md',
  begin: () => '',
  page: (page) => {
    const text = page.error === undefined ? markdownOf(page) : `*Page ${page.number} could not be read.*`;
    return `${page.number > 1 ? '\n---\n\n' : ''}${text === '' ? '' : `${text}\n`}`;
  },
  end: () => '',
};

const round = (value: number, digits: number) => Math.round(value * 10 ** digits) / 10 ** digits;

/** One JSON document: what was read, what read it, and every page with its lines, boxes, confidences and warnings. */
export const jsonFormat: TextFormat = {
  extension: 'json',
  begin: ({ source, pages, reader, generator }) => {
    const head = JSON.stringify({
      format: 'varyclip document',
      version: 1,
      generator,
      source,
      reader,
      pageCount: pages,
    });
    return `${head.slice(0, -1)},"pages":[`;
  },
  page: ({ number, lines, ...page }) => {
    const shown = lines?.map(({ confidence, ...line }) => ({ ...line, confidence: round(confidence, 4) }));
    return `${number > 1 ? ',' : ''}\n${JSON.stringify({ number, ...page, ...(shown && { lines: shown }) })}`;
  },
  end: () => '\n]}\n',
};
