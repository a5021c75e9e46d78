/** The body of a worker thread: opens documents, draws and decodes their pages and finds the lines on them. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { parentPort, type Transferable, workerData } from 'node:worker_threads';
import { InputError, messageOf } from '../../core/errors.js';
import { readImageHeader } from '../../image/image-header.js';
import type { Pixels, Size } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';
import { memoryOf, type PreparedImage, type PrepareSettings, prepareImage } from '../../infer/prepare.js';
import type { PagePicture } from '../../output/document/pdf.js';
import { readRange } from '../files.js';
import { decodeImage, type ImageLimits } from '../images.js';
import { serveJobs } from '../worker-pool.js';
import type { InputDocument } from './inputs.js';
import { createPdfLibrary, type PdfDocument, type PdfLibrary } from './pdfium.js';

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

/** A document whose bytes are in memory: the last one a thread worked on. */
interface Held {
  readonly key: string;
  readonly facts: OpenedDocument;
  readonly bytes: Uint8Array;
  readonly pdf?: PdfDocument;
}

const isPdf = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(1024, bytes.length)).includes('%PDF-');

function readDocument({ file, range, source }: InputDocument, maxBytes: number) {
  try {
    const handle = openSync(file, 'r');
    try {
      const facts = fstatSync(handle);
      const { offset, size } = range ?? { offset: 0, size: facts.size };
      if (size > maxBytes) throw new InputError(`${source}: has ${size} bytes, at most ${maxBytes} are allowed`);
      return { bytes: readRange(handle, offset, size), modified: Math.trunc(facts.mtimeMs) };
    } finally {
      closeSync(handle);
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${source}: cannot be read: ${messageOf(cause)}`, { cause });
  }
}

/** Pages and facts of documents, one document at a time. */
export function createPageReader(plan: PagePlan) {
  let library: Promise<PdfLibrary> | undefined;
  let held: Held | undefined;
  const { limits } = plan;
  const openPdf = async (bytes: Uint8Array, source: string) => {
    library ??= createPdfLibrary();
    return (await library).open(bytes, source);
  };
  const hold = async (document: InputDocument): Promise<Held> => {
    if (held?.key === document.key) return held;
    held?.pdf?.dispose();
    held = undefined;
    const { bytes, modified } = readDocument(document, limits.maxBytes);
    const { source, key } = document;
    const pdf = isPdf(bytes) ? await openPdf(bytes, source) : undefined;
    const pages = pdf?.pages ?? pagesOf(bytes, source);
    if (pages < 1 || pages > limits.maxPages) {
      pdf?.dispose();
      throw new InputError(`${source}: has ${pages} pages, at most ${limits.maxPages} are allowed (--max-pages)`);
    }
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const facts = { pages, size: bytes.length, modified, sha256 };
    // pdfium has a copy of its own.
    held = pdf ? { key, facts, bytes: new Uint8Array(0), pdf } : { key, facts, bytes };
    return held;
  };
  const pixelsOf = async (document: InputDocument, page: number): Promise<{ pixels: Pixels; dpi: number }> => {
    const { bytes, pdf } = await hold(document);
    const { maxPixels, maxBytes } = limits;
    if (pdf) return { pixels: pdf.draw(page, { dpi: plan.dpi, maxPixels }), dpi: plan.dpi };
    const allowed: ImageLimits = { maxPixels, maxBytes, maxFrames: limits.maxPages };
    const pixels = await decodeImage(bytes, allowed, page).catch((cause: unknown) => {
      if (!(cause instanceof InputError)) throw cause;
      throw new InputError(`${document.source}: ${cause.message.replace(/^image: /, '')}`, { cause });
    });
    return { pixels, dpi: (await statedDpi(bytes)) ?? plan.dpi };
  };
  const run = async (job: PageJob): Promise<PageResult> => {
    if (job.kind === 'open') return (await hold(job.document)).facts;
    if (job.kind === 'picture') return pictureOf((await pixelsOf(job.document, job.page)).pixels);
    const started = performance.now();
    const done = () => (performance.now() - started) / 1000;
    const text = plan.textLayer ? (await hold(job.document)).pdf?.textLayer(job.page, plan.dpi) : undefined;
    if (text) return { ...text.size, textLayer: text.lines, seconds: done() };
    const { pixels, dpi } = await pixelsOf(job.document, job.page);
    const { width, height } = pixels;
    return { width, height, dpi, image: prepareImage(pixels, plan.settings), seconds: done() };
  };
  return async (job: PageJob): Promise<PageResult> => {
    try {
      return await run(job);
    } catch (error) {
      if (error instanceof InputError) throw error;
      // What failed inside of pdfium or a decoder says nothing about this program; what pdfium holds may be broken now.
      held = undefined;
      library = undefined;
      throw new InputError(`${job.document.source}: could not be worked on: ${messageOf(error)}`, { cause: error });
    }
  };
}

/** A TIFF's pages; of other pictures the first frame is the page. */
function pagesOf(bytes: Uint8Array, where: string): number {
  const { format, frames } = readImageHeader(bytes, where);
  return format === 'tiff' ? frames : 1;
}

/** Pixels an inch, where a picture says something that makes sense. */
async function statedDpi(bytes: Uint8Array): Promise<number | undefined> {
  const { default: sharp } = await import('sharp');
  const { density } = await sharp(bytes).metadata();
  return density !== undefined && density > 72 && density <= 2400 ? density : undefined;
}

/** As good as one sees on paper, a tenth of the size. */
const jpegQuality = 80;

async function pictureOf({ width, height, data }: Pixels): Promise<PagePicture> {
  const { default: sharp } = await import('sharp');
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
