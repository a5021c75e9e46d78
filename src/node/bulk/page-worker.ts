/** The body of a worker thread: opens documents, draws and decodes their pages and finds the lines on them. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../core/errors.js';
import { pagesOf, readImageHeader } from '../../image/image-header.js';
import type { Pixels, Size } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';
import { lookOf, memoryOf, type PreparedImage, type PrepareSettings, prepareImage } from '../../infer/prepare.js';
import type { PagePicture } from '../../output/document/pdf.js';
import { readRange } from '../files.js';
import { hashRange } from '../hash-file.js';
import { type DecodedPage, decodePage, type ImageLimits } from '../images.js';
import { expectFile } from '../place.js';
import { loadSharp } from '../sharp.js';
import { serveJobs } from '../worker-pool.js';
import type { InputDocument } from './inputs.js';
import { createPdfLibrary, type PdfDocument, type PdfLibrary } from './pdfium.js';
import type { FileRange } from './pdfium-files.js';

/** How pages are prepared. */
export interface PagePlan {
  /** Of a PDF's pages, and of pictures that do not say theirs. */
  readonly dpi: number;
  /** What the model's pictures must become. */
  readonly settings: PrepareSettings;
  /** A PDF's own text is taken where there is one. */
  readonly textLayer: boolean;
  readonly limits: { readonly maxPixels: number; readonly maxBytes: number; readonly maxPages: number };
}

/** A document's facts. */
export interface OpenedDocument {
  readonly pages: number;
  readonly size: number;
  /** In milliseconds since 1970, whole. */
  readonly modified: number;
  readonly sha256: string;
}

/** A page that is ready for the model, or has a text that needs no model. */
export interface PreparedPage extends Size {
  readonly dpi: number;
  readonly image?: PreparedImage;
  readonly textLayer?: readonly ReadLine[];
  /** Seconds. */
  readonly seconds: number;
}

export type PageJob = { readonly document: InputDocument } & (
  | { readonly kind: 'open' }
  | { readonly kind: 'page' | 'picture'; readonly page: number }
);
export type PageResult = OpenedDocument | PreparedPage | PagePicture;

/** An open document: the last one a thread worked on. Of a picture the bytes are in memory, a PDF is read as it is needed. */
type Held = { readonly key: string; readonly file: OpenFile; readonly pages: number } & (
  | { readonly bytes: Uint8Array }
  | { readonly pdf: PdfDocument }
);

/** A document's file, or its place in an archive. */
interface OpenFile extends FileRange {
  readonly modified: number;
  sha256(): string;
  close(): void;
}

/** A PDF begins within so many bytes. */
const signatureRange = 1024;
const isPdf = (file: FileRange) => Buffer.from(file.read(0, Math.min(signatureRange, file.size))).includes('%PDF-');

const cannotBeRead = (source: string, cause: unknown) =>
  new InputError(`${source}: cannot be read: ${messageOf(cause)}`, { cause });

function openFile({ file, range, source }: InputDocument, maxBytes: number): OpenFile {
  let handle: number;
  // To open a pipe is to wait for whoever writes into it: nothing could end this thread then.
  expectFile(file, source);
  try {
    handle = openSync(file, 'r');
  } catch (cause) {
    throw cannotBeRead(source, cause);
  }
  const facts = fstatSync(handle);
  const { offset, size } = range ?? { offset: 0, size: facts.size };
  if (size > maxBytes) {
    closeSync(handle);
    throw new InputError(`${source}: has ${size} bytes, at most ${maxBytes} are allowed`);
  }
  const reading = <T>(task: () => T): T => {
    try {
      return task();
    } catch (cause) {
      throw cannotBeRead(source, cause);
    }
  };
  return {
    size,
    modified: Math.trunc(facts.mtimeMs),
    read: (at, length) => reading(() => readRange(handle, offset + at, Math.max(0, Math.min(length, size - at)))),
    sha256: () => reading(() => hashRange(handle, offset, size)),
    close: () => closeSync(handle),
  };
}

interface PagePixels extends Pick<DecodedPage, 'pixels' | 'warnings'> {
  readonly dpi: number;
}

/** Pages and facts of documents, one document at a time. */
export function createPageReader(plan: PagePlan) {
  let library: Promise<PdfLibrary> | undefined;
  let held: Held | undefined;
  const { limits } = plan;
  const openPdf = async (file: FileRange, source: string) => {
    library ??= createPdfLibrary();
    return (await library).open(file, source);
  };
  const contentsOf = async (file: OpenFile, source: string) => {
    if (isPdf(file)) {
      const pdf = await openPdf(file, source);
      return { pdf, pages: pdf.pages };
    }
    const bytes = file.read(0, file.size);
    return { bytes, pages: pagesOf(readImageHeader(bytes, source)) };
  };
  const hold = async (document: InputDocument): Promise<Held> => {
    if (held?.key === document.key) return held;
    if (held && 'pdf' in held) held.pdf.dispose();
    held?.file.close();
    held = undefined;
    const { source, key } = document;
    const file = openFile(document, limits.maxBytes);
    try {
      const contents = await contentsOf(file, source);
      const { pages } = contents;
      if (pages < 1 || pages > limits.maxPages) {
        if (contents.pdf) contents.pdf.dispose();
        if (pages < 1) throw new InputError(`${source}: has no pages`);
        throw new InputError(`${source}: has ${pages} pages, at most ${limits.maxPages} are allowed (--max-pages)`);
      }
      held = { key, file, ...contents };
      return held;
    } catch (error) {
      file.close();
      throw error;
    }
  };
  const pixelsOf = async (document: InputDocument, page: number): Promise<PagePixels> => {
    const open = await hold(document);
    const { maxPixels, maxBytes } = limits;
    if ('pdf' in open)
      return { pixels: open.pdf.draw(page, { dpi: plan.dpi, maxPixels }), dpi: plan.dpi, warnings: [] };
    const { bytes } = open;
    const allowed: ImageLimits = { maxPixels, maxBytes, maxFrames: limits.maxPages };
    const decoded = await decodePage(bytes, allowed, page, lookOf(plan.settings)).catch((cause: unknown) => {
      if (!(cause instanceof InputError)) throw cause;
      throw new InputError(`${document.source}: ${cause.message.replace(/^image: /, '')}`, { cause });
    });
    return { ...decoded, dpi: (await statedDpi(bytes)) ?? plan.dpi };
  };
  const run = async (job: PageJob): Promise<PageResult> => {
    if (job.kind === 'open') {
      const { pages, file } = await hold(job.document);
      return { pages, size: file.size, modified: file.modified, sha256: file.sha256() };
    }
    if (job.kind === 'picture') return pictureOf((await pixelsOf(job.document, job.page)).pixels);
    const started = performance.now();
    const done = () => (performance.now() - started) / 1000;
    const open = await hold(job.document);
    const text = plan.textLayer && 'pdf' in open ? open.pdf.textLayer(job.page, plan.dpi) : undefined;
    if (text) return { ...text.size, textLayer: text.lines, seconds: done() };
    const { pixels, dpi, warnings } = await pixelsOf(job.document, job.page);
    const { width, height } = pixels;
    return { width, height, dpi, image: { ...prepareImage(pixels, plan.settings), warnings }, seconds: done() };
  };
  return async (job: PageJob): Promise<PageResult> => {
    try {
      return await run(job);
    } catch (error) {
      if (error instanceof InputError) throw error;
      // What failed inside of pdfium or a decoder says nothing about this program; what pdfium holds may be broken now.
      held?.file.close();
      held = undefined;
      library = undefined;
      throw new InputError(`${job.document.source}: could not be worked on: ${messageOf(error)}`, { cause: error });
    }
  };
}

/** Pixels an inch, where a picture says something that makes sense. */
async function statedDpi(bytes: Uint8Array): Promise<number | undefined> {
  const sharp = await loadSharp();
  const { density } = await sharp(bytes).metadata();
  return density !== undefined && density > 72 && density <= 2400 ? density : undefined;
}

/** As good as one sees on paper, a tenth of the size. */
const jpegQuality = 80;

async function pictureOf({ width, height, data }: Pixels): Promise<PagePicture> {
  const sharp = await loadSharp();
  let gray = true;
  for (let i = 0; gray && i < data.length; i += 3) gray = data[i] === data[i + 1] && data[i] === data[i + 2];
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  const jpeg = await (gray ? image.toColourspace('b-w') : image).jpeg({ quality: jpegQuality }).toBuffer();
  return { jpeg: new Uint8Array(jpeg), components: gray ? 1 : 3, width, height };
}

/** Memory of a result that is handed over to the other thread. */
function transferred(result: PageResult): Transferable[] {
  const arrays = 'jpeg' in result ? [result.jpeg] : 'seconds' in result && result.image ? memoryOf(result.image) : [];
  return [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))];
}

if (parentPort) serveJobs<PageJob, PageResult>(createPageReader(workerData as PagePlan), transferred);
