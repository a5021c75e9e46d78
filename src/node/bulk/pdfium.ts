/** PDF files through pdfium as WebAssembly, by its own C functions (fpdfview.h, fpdf_text.h). */
import { PDFiumModule } from '@hyzyla/pdfium';
import { InputError } from '../../core/errors.js';
import type { Box, Pixels } from '../../image/pixels.js';
import { pixelsFrom } from '../../image/pixels.js';
import type { ReadLine } from '../../image/read-line.js';
import { createFileAccesses, type FileAccess, type FileRange } from './pdfium-files.js';
import { openForm, type PdfForm, type PdfiumForms } from './pdfium-forms.js';

type Pointer = number;

/** The functions that are used, as the library exports them. */
interface Pdfium extends PdfiumForms {
  _FPDF_InitLibraryWithConfig(config: object): void;
  _FPDF_LoadCustomDocument(access: Pointer, password: Pointer): Pointer;
  _FPDF_GetLastError(): number;
  _FPDF_CloseDocument(document: Pointer): void;
  _FPDF_GetPageCount(document: Pointer): number;
  _FPDF_LoadPage(document: Pointer, index: number): Pointer;
  _FPDF_ClosePage(page: Pointer): void;
  _FPDF_GetPageWidth(page: Pointer): number;
  _FPDF_GetPageHeight(page: Pointer): number;
  _FPDFBitmap_CreateEx(width: number, height: number, format: number, buffer: Pointer, stride: number): Pointer;
  _FPDFBitmap_FillRect(bitmap: Pointer, left: number, top: number, width: number, height: number, colour: number): void;
  _FPDFBitmap_Destroy(bitmap: Pointer): void;
  _FPDF_RenderPageBitmap(
    bitmap: Pointer,
    page: Pointer,
    left: number,
    top: number,
    width: number,
    height: number,
    rotate: number,
    flags: number,
  ): void;
  _FPDFText_LoadPage(page: Pointer): Pointer;
  _FPDFText_ClosePage(text: Pointer): void;
  _FPDFText_CountChars(text: Pointer): number;
  _FPDFText_GetUnicode(text: Pointer, index: number): number;
  _FPDFText_GetLooseCharBox(text: Pointer, index: number, box: Pointer): number;
}

const bitmapBgr = 2;
const drawAnnotations = 0x01;
const reverseBytes = 0x10;
const errorPassword = 4;
const errorSecurity = 5;

/** A page's size on paper and on the screen. */
export interface PdfPageSize {
  readonly width: number;
  readonly height: number;
  /** Pixels an inch it is drawn at. */
  readonly dpi: number;
}

/** An open PDF. Pages count from 0. */
export interface PdfDocument {
  readonly pages: number;
  /** A page as a picture. Throws InputError where it is damaged or larger than `maxPixels`. */
  draw(page: number, options: { readonly dpi: number; readonly maxPixels: number }): Pixels;
  /** The page's own text with its places in pixels, or undefined where there is none. */
  textLayer(page: number, dpi: number): { readonly size: PdfPageSize; readonly lines: ReadLine[] } | undefined;
  dispose(): void;
}

/** A library of its own: after a failure within it another one is made. */
export interface PdfLibrary {
  /** Throws InputError for what is no PDF, damaged or encrypted. */
  open(file: FileRange, where: string): PdfDocument;
}

/** The most that pdfium may hold: two times what the largest page that is allowed has in pixels. */
const mostMemory = 384 << 20;
const wasmPage = 1 << 16;

/** pdfium with a limit: its module declares 2 GiB. Past it pdfium ends as on a full machine, and is of no use any more. */
async function loadPdfium(): Promise<Pdfium> {
  const tooMuch = new RangeError(`needs more than ${mostMemory >> 20} MiB of memory`);
  let refused = false;
  const pdfium = (await PDFiumModule({
    // What it has to say of a failure comes as an exception too.
    printErr: () => undefined,
    onAbort: () => {
      if (refused) throw tooMuch;
    },
  } as object)) as unknown as Pdfium;
  const { memory } = pdfium.wasmExports;
  const grow = memory.grow.bind(memory);
  memory.grow = (pages) => {
    refused = memory.buffer.byteLength + pages * wasmPage > mostMemory;
    if (refused) throw tooMuch;
    return grow(pages);
  };
  return pdfium;
}

export async function createPdfLibrary(): Promise<PdfLibrary> {
  const pdfium = await loadPdfium();
  pdfium._FPDF_InitLibraryWithConfig({ version: 2, m_pIsolate: null, m_pUserFontPaths: null, m_v8EmbedderSlot: 0 });
  const accessTo = createFileAccesses(pdfium);
  return {
    open: (file, where) => {
      if (file.size >= 2 ** 32) throw new InputError(`${where}: has ${file.size} bytes, pdfium reads less than 4 GiB`);
      return openDocument(pdfium, accessTo(file), where);
    },
  };
}

function allocate(pdfium: Pdfium, size: number, where: string): Pointer {
  const pointer = pdfium.wasmExports.malloc(size);
  if (pointer !== 0) return pointer;
  throw new InputError(`${where}: needs ${size} bytes more than there are`);
}

/** pdfium keeps what it has read of a document. After so many bytes, or as many as opening took, it is opened anew without. */
const keptBytes = 1 << 25;

function openDocument(pdfium: Pdfium, access: FileAccess, where: string): PdfDocument {
  let document: Pointer = 0;
  let form: PdfForm | undefined;
  let enough = 0;
  const close = () => {
    form?.dispose();
    form = undefined;
    if (document !== 0) pdfium._FPDF_CloseDocument(document);
    document = 0;
  };
  const open = () => {
    close();
    const before = access.bytesRead();
    document = pdfium._FPDF_LoadCustomDocument(access.pointer, 0);
    if (document === 0) throw new InputError(`${where}: ${reasonOf(pdfium._FPDF_GetLastError())}`);
    form = openForm(pdfium, document);
    const after = access.bytesRead();
    enough = after + Math.max(keptBytes, after - before);
  };
  const dispose = () => {
    close();
    access.dispose();
  };
  const withPage = <T>(index: number, use: (page: Pointer, place: string) => T): T => {
    const place = `${where}: page ${index + 1}`;
    if (document === 0 || access.bytesRead() > enough) open();
    const page = pdfium._FPDF_LoadPage(document, index);
    if (page === 0) throw new InputError(`${place}: is damaged: it cannot be opened`);
    try {
      return use(page, place);
    } finally {
      form?.leave(page);
      pdfium._FPDF_ClosePage(page);
    }
  };
  try {
    open();
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    pages: pdfium._FPDF_GetPageCount(document),
    draw: (index, { dpi, maxPixels }) =>
      withPage(index, (page, place) => {
        const size = sizeOf(pdfium, page, dpi, place);
        if (size.width * size.height > maxPixels) {
          throw new InputError(
            `${place}: has ${size.width}×${size.height} pixels at ${dpi} dpi, at most ${maxPixels} are allowed; ask for fewer dpi`,
          );
        }
        return drawPage(pdfium, page, form, size, place);
      }),
    textLayer: (index, dpi) =>
      withPage(index, (page, place) => {
        const size = sizeOf(pdfium, page, dpi, place);
        const lines = textLines(pdfium, page, size, place);
        return lines.length === 0 ? undefined : { size, lines };
      }),
    dispose,
  };
}

function reasonOf(code: number): string {
  if (code === errorPassword) return 'is encrypted and needs a password; take the password off to read it';
  if (code === errorSecurity) return 'is encrypted in a way that is not supported';
  return 'is damaged, or no PDF';
}

function sizeOf(pdfium: Pdfium, page: Pointer, dpi: number, where: string): PdfPageSize {
  const [width, height] = [pdfium._FPDF_GetPageWidth(page), pdfium._FPDF_GetPageHeight(page)].map((points) =>
    Math.max(1, Math.round((points * dpi) / 72)),
  );
  if (Number.isSafeInteger(width * height)) return { width, height, dpi };
  throw new InputError(`${where}: has no sides that make sense: ${width}×${height} pixels`);
}

function drawPage(pdfium: Pdfium, page: Pointer, form: PdfForm | undefined, size: PdfPageSize, where: string): Pixels {
  const { width, height } = size;
  const stride = 3 * width;
  const memory = allocate(pdfium, stride * height, where);
  try {
    const bitmap = pdfium._FPDFBitmap_CreateEx(width, height, bitmapBgr, memory, stride);
    if (bitmap === 0) throw new InputError(`${where}: cannot be drawn at ${width}×${height} pixels`);
    pdfium._FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xffffffff);
    pdfium._FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, drawAnnotations | reverseBytes);
    // All other annotations are there already.
    form?.draw(bitmap, page, size, reverseBytes);
    pdfium._FPDFBitmap_Destroy(bitmap);
    return pixelsFrom(width, height, pdfium.HEAPU8.slice(memory, memory + stride * height));
  } finally {
    pdfium.wasmExports.free(memory);
  }
}

/** Most characters of a page's text layer. */
const maxCharacters = 1 << 20;

interface Character {
  readonly text: string;
  readonly box: Box;
}

/** The characters of a page's text layer with their boxes in pixels; white space has none that means anything. */
function charactersOf(pdfium: Pdfium, text: Pointer, size: PdfPageSize, where: string): Character[] {
  const count = pdfium._FPDFText_CountChars(text);
  if (count > maxCharacters)
    throw new InputError(`${where}: has a text of ${count} characters, at most ${maxCharacters} are read`);
  const scale = size.dpi / 72;
  const memory = allocate(pdfium, 16, where);
  try {
    return Array.from({ length: Math.max(0, count) }, (_, i) => {
      pdfium._FPDFText_GetLooseCharBox(text, i, memory);
      const view = new DataView(pdfium.HEAPU8.buffer, memory, 16);
      // FS_RECTF: left, top, right, bottom, from the page's lower left corner.
      const [left, top, right, bottom] = [0, 4, 8, 12].map((at) => view.getFloat32(at, true) * scale);
      return {
        text: String.fromCodePoint(pdfium._FPDFText_GetUnicode(text, i) || 0xfffd),
        box: { left, top: size.height - top, width: right - left, height: top - bottom },
      };
    });
  } finally {
    pdfium.wasmExports.free(memory);
  }
}

/** Lines end where the text layer says so; a gap of more than half a line begins a paragraph. */
function textLines(pdfium: Pdfium, page: Pointer, size: PdfPageSize, where: string): ReadLine[] {
  const text = pdfium._FPDFText_LoadPage(page);
  if (text === 0) return [];
  try {
    const lines: ReadLine[] = [];
    let own: Character[] = [];
    const close = () => {
      const line = lineOf(own, lines.at(-1));
      if (line) lines.push(line);
      own = [];
    };
    for (const character of charactersOf(pdfium, text, size, where)) {
      if (character.text === '\n' || character.text === '\r') close();
      else own.push(character);
    }
    close();
    return lines;
  } finally {
    pdfium._FPDFText_ClosePage(text);
  }
}

function lineOf(characters: readonly Character[], before: ReadLine | undefined): ReadLine | undefined {
  const seen = characters.filter(({ text, box }) => text.trim() !== '' && box.width >= 0 && box.height > 0);
  if (seen.length === 0) return undefined;
  const left = Math.floor(Math.min(...seen.map(({ box }) => box.left)));
  const top = Math.floor(Math.min(...seen.map(({ box }) => box.top)));
  const width = Math.max(1, Math.ceil(Math.max(...seen.map(({ box }) => box.left + box.width))) - left);
  const height = Math.max(1, Math.ceil(Math.max(...seen.map(({ box }) => box.top + box.height))) - top);
  const text = characters
    .map((each) => each.text)
    .join('')
    .trim();
  const gap = before ? top - (before.box.top + before.box.height) : 0;
  const starts = before !== undefined && (gap > 0.5 * height || gap < -2 * height);
  const paragraph = before === undefined ? 0 : before.paragraph + (starts ? 1 : 0);
  return { text, confidence: 1, box: { left, top, width, height }, paragraph, block: 0 };
}
