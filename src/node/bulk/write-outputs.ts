import { lstatSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { deflateSync } from 'node:zlib';
import { InputError } from '../../core/errors.js';
import { extensionOf, type FormatName, textFormats } from '../../output/document/formats.js';
import type { DocumentInfo, PageOutput } from '../../output/document/page.js';
import { createPdfWriter, type PagePicture } from '../../output/document/pdf.js';
import { streamFileAtomic, type WriteCalls } from '../atomic.js';
import { liesIn } from '../output-place.js';
import { lookAt, makeDirectory } from '../place.js';

/** Where a job keeps its own files, within the output directory. */
export const stateFolder = '.varyclip';

/** A finished document: its pages and pictures are asked for one by one. */
export interface FinishedDocument {
  readonly info: DocumentInfo;
  /** What its files are called, without ending. */
  readonly name: string;
  /** From 1. */
  page(number: number): PageOutput;
  picture(number: number): Promise<PagePicture | undefined>;
}

const encoder = new TextEncoder();

async function* contentOf(format: FormatName, { info, page, picture }: FinishedDocument): AsyncGenerator<Uint8Array> {
  const pages = Array.from({ length: info.pages }, (_, i) => i + 1);
  if (format === 'pdf') {
    const pdf = createPdfWriter(info, { deflate: (bytes) => deflateSync(bytes) });
    yield pdf.begin();
    for (const number of pages) yield pdf.page(page(number), await picture(number));
    yield pdf.end();
    return;
  }
  const text = textFormats[format];
  yield encoder.encode(text.begin(info));
  for (const number of pages) yield encoder.encode(text.page(page(number), info));
  yield encoder.encode(text.end(info));
}

/** A document's files below the output directory, in the order of `formats`. */
export const outputNames = (name: string, formats: readonly FormatName[]): string[] =>
  formats.map((format) => `${name}.${extensionOf(format)}`);

export const outputsExist = (out: string, names: readonly string[]): boolean =>
  names.every((name) => lookAt(join(out, name)).kind === 'file');

/** Throws InputError where a name has a file, or a link, that is not the job's own. */
export function expectFree(out: string, names: readonly string[], isOwn: (name: string) => boolean): void {
  const taken = names.find((name) => !isOwn(name) && isTaken(join(out, name)));
  if (taken === undefined) return;
  throw new InputError(
    `${join(out, taken)}: is there, and this job did not write it; move it away, name another directory, or have it replaced: --overwrite`,
  );
}

/** Whether a rename would replace something: directories it does not. */
function isTaken(path: string): boolean {
  try {
    return !lstatSync(path).isDirectory();
  } catch {
    // Where nothing can be asked, nothing can be written either: that failure is the one to report.
    return false;
  }
}

/**
 * Writes a document in every format, a file at a time, so that each name holds nothing or the whole. `temporary` is a file name on
 * the same file system. Throws InputError where a file cannot be written.
 */
export async function writeOutputs(
  out: string,
  document: FinishedDocument,
  formats: readonly FormatName[],
  temporary: string,
  fs?: WriteCalls,
): Promise<string[]> {
  const names = outputNames(document.name, formats);
  for (const [i, name] of names.entries()) {
    const path = join(out, name);
    if (!`${resolve(path)}`.startsWith(`${resolve(out)}/`)) throw new InputError(`${path}: lies outside of ${out}`);
    if (liesIn(path, join(out, stateFolder))) throw new InputError(`${path}: lies among the job's own files`);
    makeDirectory(dirname(path));
    await streamFileAtomic(path, temporary, contentOf(formats[i], document), fs);
  }
  return names;
}

/** Removes files of a document that is now called otherwise. */
export function removeOutputs(out: string, names: readonly string[]): void {
  for (const name of names) rmSync(join(out, name), { force: true });
}
