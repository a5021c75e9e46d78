/** Fields of forms, which pdfium draws apart from the page they stand on (fpdf_formfill.h). */
import type { PdfiumMemory } from './pdfium-files.js';

type Pointer = number;

/** What is needed of pdfium's own exports. */
export interface PdfiumForms extends PdfiumMemory {
  _FPDF_GetFormType(document: Pointer): number;
  _FPDFDOC_InitFormFillEnvironment(document: Pointer, info: Pointer): Pointer;
  _FPDFDOC_ExitFormFillEnvironment(form: Pointer): void;
  _FORM_OnBeforeClosePage(page: Pointer, form: Pointer): void;
  _FPDF_FFLDraw(
    form: Pointer,
    bitmap: Pointer,
    page: Pointer,
    left: number,
    top: number,
    width: number,
    height: number,
    rotate: number,
    flags: number,
  ): void;
}

/** The form of an open document. */
export interface PdfForm {
  /** What stands in the fields of a page, over the page in `bitmap`. */
  draw(bitmap: Pointer, page: Pointer, size: { readonly width: number; readonly height: number }, flags: number): void;
  /** To be called before a page that may have been drawn is closed. */
  leave(page: Pointer): void;
  /** To be called when all pages are closed and the document is not. */
  dispose(): void;
}

const noForm = 0;
/** FPDF_FORMFILLINFO has 36 words at most. The first is its version, the others are functions that are told of changes. */
const infoSize = 256;
const infoVersion = 1;

/** The form of a document; undefined where it has none, so that nothing is done for it. */
export function openForm(pdfium: PdfiumForms, document: Pointer): PdfForm | undefined {
  if (pdfium._FPDF_GetFormType(document) === noForm) return undefined;
  const { malloc, free } = pdfium.wasmExports;
  const info = malloc(infoSize);
  if (info === 0) return undefined;
  pdfium.HEAPU8.fill(0, info, info + infoSize);
  new DataView(pdfium.HEAPU8.buffer).setUint32(info, infoVersion, true);
  const form = pdfium._FPDFDOC_InitFormFillEnvironment(document, info);
  if (form === 0) {
    free(info);
    return undefined;
  }
  return {
    draw: (bitmap, page, { width, height }, flags) =>
      pdfium._FPDF_FFLDraw(form, bitmap, page, 0, 0, width, height, 0, flags),
    leave: (page) => pdfium._FORM_OnBeforeClosePage(page, form),
    dispose: () => {
      pdfium._FPDFDOC_ExitFormFillEnvironment(form);
      // pdfium looks at it until then.
      free(info);
    },
  };
}
