import { closeSync, mkdirSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { createTextRenderer } from '../../src/node/rendered/renderer.js';
import type { PageOutput } from '../../src/output/document/page.js';
import { createPdfWriter } from '../../src/output/document/pdf.js';

/** No seed of a run file: these pages are in no training. */
const seed = 70_700;

export interface PageFile {
  readonly png: string;
  /** What it says. */
  readonly txt: string;
}

/** Rendered pages in fonts and words that training never has, as files. Those that are there are not drawn again. */
export async function renderPages(folder: string, count: number): Promise<PageFile[]> {
  mkdirSync(join(folder, 'pages'), { recursive: true });
  mkdirSync(join(folder, 'texts'), { recursive: true });
  const files = Array.from({ length: count }, (_, i) => {
    const name = `page-${String(i).padStart(6, '0')}`;
    return { png: join(folder, 'pages', `${name}.png`), txt: join(folder, 'texts', `${name}.txt`) };
  });
  const missing = files.flatMap(({ txt }, i) => (statSync(txt, { throwIfNoEntry: false }) ? [] : [i]));
  if (missing.length === 0) return files;
  const renderer = await createTextRenderer();
  for (const [n, index] of missing.entries()) {
    const page = renderer.renderPage({
      seed,
      index,
      split: 'heldOut',
      columns: index % 2 === 0 ? 1 : 2,
      pt: 10 + (index % 4),
      dpi: 150 + 50 * (index % 2),
    });
    const { width, height, data } = page.image;
    await sharp(data, { raw: { width, height, channels: 1 } })
      .png({ compressionLevel: 3 })
      .toFile(files[index].png);
    // Last: a page whose text is there is whole.
    writeFileSync(files[index].txt, page.text);
    if (n % 50 === 49) console.error(`${n + 1} of ${missing.length} pages drawn`);
  }
  return files;
}

/** Of the scans in a PDF: what a cheap scanner gives. */
const scanDpi = 150;
const scanWidth = 1240;

const blank = (number: number, width: number, height: number): PageOutput => ({
  number,
  width,
  height,
  dpi: scanDpi,
  text: '',
  lines: [],
  warnings: [],
});

/** A PDF of `count` scanned pages of A4's width, made of the given ones in turn; 3,000 are about 800 MB. */
export async function writeScannedPdf(path: string, pngs: readonly string[], count: number): Promise<void> {
  const pictures = await Promise.all(
    pngs.map(async (png) => {
      const scan = sharp(png).resize({ width: scanWidth }).toColourspace('b-w').jpeg({ quality: 60 });
      const { data, info } = await scan.toBuffer({ resolveWithObject: true });
      return { jpeg: new Uint8Array(data), components: 1 as const, width: info.width, height: info.height };
    }),
  );
  const reader = { name: 'bench', weights: '', precision: 'float32', preprocessing: '' };
  const writer = createPdfWriter({ source: 'bench.pdf', pages: count, generator: 'bench', reader });
  const handle = openSync(path, 'w');
  try {
    writeSync(handle, writer.begin());
    for (let i = 0; i < count; i++) {
      const picture = pictures[i % pictures.length];
      writeSync(handle, writer.page(blank(i + 1, picture.width, picture.height), picture));
    }
    writeSync(handle, writer.end());
  } finally {
    closeSync(handle);
  }
}
