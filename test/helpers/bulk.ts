/** What tests of bulk reading share: documents cut from the example page, and a model that reads them without ONNX Runtime. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { createPageText } from '../../src/infer/read-lines.js';
import type { Retried } from '../../src/infer/retries.js';
import { findInputs } from '../../src/node/bulk/inputs.js';
import type { BulkOptions, BulkReport } from '../../src/node/bulk/job-options.js';
import { runBulkRead } from '../../src/node/bulk/run-job.js';
import type { NodeVaryModel } from '../../src/node/load-model.js';
import type { DocumentInfo, PageOutput } from '../../src/output/document/page.js';
import { createPdfWriter, type PagePicture } from '../../src/output/document/pdf.js';
import { examplePath } from './cli.js';

/** Two or three lines of the example page, as a PNG: other numbers give other lines. */
export function strip(i: number, height = 110): Promise<Buffer> {
  return sharp(examplePath('page.png'))
    .extract({ left: 240, top: 180 + 35 * (i % 34), width: 760, height })
    .toColourspace('b-w')
    .png()
    .toBuffer();
}

/** A TIFF of pages of one size. */
export async function tiffOf(pictures: readonly Buffer[]): Promise<Buffer> {
  const raws = await Promise.all(pictures.map((each) => sharp(each).raw().toBuffer({ resolveWithObject: true })));
  const { width, height, channels } = raws[0].info;
  const raw = { width, height: height * raws.length, channels, pageHeight: height };
  return sharp(Buffer.concat(raws.map(({ data }) => data)), { raw })
    .tiff({ compression: 'lzw' })
    .toBuffer();
}

export function write(path: string, content: Uint8Array | string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

export const documentInfo: DocumentInfo = {
  source: 'test.pdf',
  pages: 1,
  generator: 'varyclip test',
  reader: { name: 'test', weights: 'aa', precision: 'float32', preprocessing: 'bb' },
};

/** A PDF of pictures without text. */
export async function picturePdf(pictures: readonly Uint8Array[], dpi = 150): Promise<Buffer> {
  const writer = createPdfWriter({ ...documentInfo, pages: pictures.length });
  const parts = [writer.begin()];
  for (const [i, png] of pictures.entries()) {
    const { data, info } = await sharp(png)
      .toColourspace('b-w')
      .jpeg({ quality: 95 })
      .toBuffer({ resolveWithObject: true });
    const picture: PagePicture = { jpeg: data, components: 1, width: info.width, height: info.height };
    parts.push(writer.page(blankPage(i + 1, info.width, info.height, dpi), picture));
  }
  return Buffer.concat([...parts, writer.end()]);
}

export const blankPage = (number: number, width: number, height: number, dpi = 150): PageOutput => ({
  number,
  width,
  height,
  dpi,
  text: '',
  lines: [],
  warnings: [],
});

/** A PDF of empty pages, all of one size in points. */
export function emptyPdf(pages: number, width = 100, height = 100): Buffer {
  const writer = createPdfWriter({ ...documentInfo, pages });
  const parts = [writer.begin()];
  for (let i = 1; i <= pages; i++) parts.push(writer.page(blankPage(i, width, height, 72), undefined));
  return Buffer.concat([...parts, writer.end()]);
}

/** A PDF of objects as they are written, the catalog first. Without a table of its objects it is mended when it is opened. */
export function pdfOf(objects: readonly string[]): Buffer {
  const body = objects.map((object, i) => `${i + 1} 0 obj\n${object}\nendobj\n`).join('');
  return Buffer.from(`%PDF-1.5\n${body}trailer\n<</Root 1 0 R>>\n%%EOF\n`, 'latin1');
}

/** A model whose texts are a function of what it sees. */
export function scriptedModel({
  onBatch = async () => {},
  retried,
}: {
  readonly onBatch?: () => Promise<void>;
  /** What a page says was tried again, given how often that may be. */
  readonly retried?: (retries: number | undefined) => readonly Retried[];
} = {}): NodeVaryModel {
  const model: Partial<NodeVaryModel> = {
    kind: 'vary',
    directory: 'scripted',
    precision: 'float32',
    towerPrecision: 'float32',
    config: { input: 'line', tower: { imageSize: [32, 384] } } as unknown as NodeVaryModel['config'],
    load: () => ({ slots: 32, usedSlots: 0, running: 0, waiting: 0 }),
    readPrepared: async (image, { retries } = {}) => {
      await onBatch();
      assert.equal(image.kind, 'lines');
      if (image.kind !== 'lines') throw new Error('expected lines');
      const page = createPageText(image.plan);
      const text = image.plan.pieces.map((piece) => page.push(scriptedReading(piece.image.data, piece.image.width)));
      return {
        text: text.join(''),
        lines: page.lines,
        finishReason: 'stop',
        warnings: [],
        ...(retried && { retried: retried(retries) }),
        usage: { promptTokens: 1, completionTokens: 1 },
        timing: { tower: 0, firstToken: 0, decode: 0 },
      };
    },
  };
  return model as NodeVaryModel;
}

export function readInto(
  out: string,
  paths: readonly string[],
  options: Partial<BulkOptions> = {},
): Promise<BulkReport> {
  return runBulkRead({
    model: scriptedModel(),
    reader: documentInfo.reader,
    generator: documentInfo.generator,
    inputs: findInputs(paths),
    out,
    jobs: 1,
    ...options,
  });
}

/** Every file below a directory but a job's own, with its contents as text or a hash. */
export function filesIn(dir: string): Record<string, string> {
  const names = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter(
    (name) => !name.startsWith('.varyclip') && statSync(join(dir, name)).isFile(),
  );
  return Object.fromEntries(
    names.sort().map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(dir, name)))
        .digest('hex'),
    ]),
  );
}

/** Pages in the journals of a job: how often each was read. */
export function pagesRead(out: string): Map<string, number> {
  const state = join(out, '.varyclip');
  const counts = new Map<string, number>();
  for (const name of readdirSync(state).filter((each) => each.startsWith('journal.'))) {
    const keys = new Map<number, string>();
    for (const text of readFileSync(join(state, name), 'utf8').split('\n')) {
      // The last line of a process that was killed may be a part of one.
      if (!text.endsWith('}')) continue;
      const line = JSON.parse(text) as { open?: number; key?: string; page?: [number, number]; reading?: unknown };
      if (line.open !== undefined) keys.set(line.open, line.key as string);
      if (!line.page || !line.reading) continue;
      const page = `${keys.get(line.page[0])} ${line.page[1]}`;
      counts.set(page, (counts.get(page) ?? 0) + 1);
    }
  }
  return counts;
}

function scriptedReading(data: Uint8Array, width: number) {
  const digest = createHash('sha256').update(data).digest();
  return { text: `${digest.toString('hex', 0, 3)} w${width}`, confidence: digest[4] / 255 };
}
