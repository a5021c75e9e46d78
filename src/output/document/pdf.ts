/**
 * Searchable PDF: every page is its picture, and over it the text in rendering mode 3, which is not drawn but can be found, selected
 * and copied (ISO 32000-1, 9.3.6). Characters are numbered as they come; a font of empty glyphs gives them room, a ToUnicode map
 * their meaning.
 */
import type { ReadLine } from '../../image/read-line.js';
import { blankAdvance, blankFont } from './blank-font.js';
import type { DocumentInfo, PageOutput } from './page.js';
import { wordsOf } from './words.js';

/** A page's picture as a JPEG of gray or colour. */
export interface PagePicture {
  readonly jpeg: Uint8Array;
  readonly components: 1 | 3;
  readonly width: number;
  readonly height: number;
}

/** Pieces of a PDF file, to be written one after the other. */
export interface PdfWriter {
  begin(): Uint8Array;
  /** Pages come in order; one without a picture is white. */
  page(page: PageOutput, picture: PagePicture | undefined): Uint8Array;
  end(): Uint8Array;
}

export interface PdfOptions {
  /** Compresses a stream in zlib's format. Without it streams are plain. */
  readonly deflate?: (bytes: Uint8Array) => Uint8Array;
}

const catalogId = 1;
const pagesId = 2;
const fontId = 3;
const firstFree = 4;

const number = (value: number) => String(Math.round(value * 1000) / 1000);
const hex = (value: number) => value.toString(16).padStart(4, '0');

/** Characters by the numbers they have in this file, from 1. */
function createAlphabet() {
  const codes = new Map<string, number>();
  return {
    /** The text as a PDF string of two-byte codes. */
    encode: (text: string): string => {
      let out = '';
      for (const character of text) {
        let code = codes.get(character);
        if (code === undefined && codes.size < 0xfffe) {
          code = codes.size + 1;
          codes.set(character, code);
        }
        out += hex(code ?? 0);
      }
      return `<${out}>`;
    },
    characters: () => [...codes.keys()],
  };
}

/** Where letters stand in a line's box: the part of its height that is below them. */
const descentShare = 0.2;

/** A line as text operators; every word fills the room it has on the page, with the space behind it. */
function lineOperators(line: ReadLine, page: PageOutput, encode: (text: string) => string): string {
  const words = wordsOf(line);
  const scale = 72 / page.dpi;
  const size = Math.max(1, line.box.height * scale);
  const y = (page.height - line.box.top - line.box.height * (1 - descentShare)) * scale;
  return words
    .map(({ text, box }, i) => {
      const next = words[i + 1]?.box.left;
      const shown = next === undefined ? text : `${text} `;
      const room = ((next ?? box.left + box.width) - box.left) * scale;
      const natural = (Array.from(shown).length * blankAdvance * size) / 1000;
      const place = `1 0 0 1 ${number(box.left * scale)} ${number(y)} Tm`;
      return `/F ${number(size)} Tf ${number((100 * room) / natural)} Tz ${place} ${encode(shown)} Tj\n`;
    })
    .join('');
}

/** A text without places: small, from the top of the page, a line each. */
function plainOperators(text: string, page: PageOutput, encode: (text: string) => string): string {
  const rows = text.split('\n');
  const height = (page.height * 72) / page.dpi;
  const size = Math.min(10, height / (rows.length + 1));
  return rows
    .map(
      (row, i) =>
        `/F ${number(size)} Tf 1 0 0 1 ${number(size)} ${number(height - (i + 1) * size)} Tm ${encode(row)} Tj\n`,
    )
    .join('');
}

/** A ToUnicode map; a section holds at most a hundred entries. */
function toUnicode(characters: readonly string[]): string {
  const units = (text: string) => Array.from({ length: text.length }, (_, i) => hex(text.charCodeAt(i))).join('');
  const sections: string[] = [];
  for (let at = 0; at < characters.length; at += 100) {
    const some = characters.slice(at, at + 100);
    const rows = some.map((character, i) => `<${hex(at + i + 1)}> <${units(character)}>`);
    sections.push(`${some.length} beginbfchar\n${rows.join('\n')}\nendbfchar\n`);
  }
  return `/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
${sections.join('')}endcmap
CMapName currentdict /CMap defineresource pop
end
end
`;
}

/** Text in a PDF's own strings, as UTF-16. */
function textString(text: string): string {
  const units = Array.from({ length: text.length }, (_, i) => hex(text.charCodeAt(i)));
  return `<feff${units.join('')}>`;
}

/** Objects of a file, and where each begins. */
function createObjects() {
  const encoder = new TextEncoder();
  const offsets: number[] = [];
  let chunks: Uint8Array[] = [];
  let written = 0;
  let next = firstFree;
  const put = (part: string | Uint8Array) => {
    const bytes = typeof part === 'string' ? encoder.encode(part) : part;
    chunks.push(bytes);
    written += bytes.length;
  };
  return {
    put,
    reserve: () => next++,
    offsets,
    position: () => written,
    object: (id: number, text: string, stream?: Uint8Array) => {
      offsets[id] = written;
      put(`${id} 0 obj\n${text}\n`);
      if (stream) {
        put('stream\n');
        put(stream);
        put('\nendstream\n');
      }
      put('endobj\n');
    },
    /** What was put since it was taken last. */
    take: (): Uint8Array => {
      const out = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const chunk of chunks) {
        out.set(chunk, at);
        at += chunk.length;
      }
      chunks = [];
      return out;
    },
  };
}

export function createPdfWriter({ generator, source }: DocumentInfo, { deflate }: PdfOptions = {}): PdfWriter {
  const objects = createObjects();
  const { object, put, reserve } = objects;
  const alphabet = createAlphabet();
  const pages: number[] = [];
  const encoder = new TextEncoder();
  const stream = (id: number, entries: string, content: string | Uint8Array) => {
    const plain = typeof content === 'string' ? encoder.encode(content) : content;
    const bytes = deflate ? deflate(plain) : plain;
    object(id, `<< ${entries}${deflate ? '/Filter /FlateDecode ' : ''}/Length ${bytes.length} >>`, bytes);
  };
  const drawing = (page: PageOutput, size: string, picture: PagePicture | undefined) => {
    const image = picture ? `q ${size} cm /Im Do Q\n` : '';
    const text = page.lines
      ? page.lines.map((line) => lineOperators(line, page, alphabet.encode)).join('')
      : plainOperators(page.text, page, alphabet.encode);
    return `${image}BT 3 Tr\n${text}ET\n`;
  };
  return {
    begin: () => {
      // Four bytes above 127 tell programs that copy files that this one is binary.
      put('%PDF-1.5\n');
      put(Uint8Array.of(0x25, 0xe2, 0xe3, 0xcf, 0xd3, 0x0a));
      return objects.take();
    },
    page: (page, picture) => {
      const [id, content, image] = [reserve(), reserve(), reserve()];
      pages.push(id);
      const [width, height] = [page.width, page.height].map((side) => number((side * 72) / page.dpi));
      const shown = picture ? `/XObject << /Im ${image} 0 R >> ` : '';
      object(
        id,
        `<< /Type /Page /Parent ${pagesId} 0 R /MediaBox [0 0 ${width} ${height}] /Resources << ${shown}/Font << /F ${fontId} 0 R >> >> /Contents ${content} 0 R >>`,
      );
      stream(content, '', drawing(page, `${width} 0 0 ${height} 0 0`, picture));
      if (picture) {
        const space = picture.components === 1 ? '/DeviceGray' : '/DeviceRGB';
        object(
          image,
          `<< /Type /XObject /Subtype /Image /Width ${picture.width} /Height ${picture.height} /ColorSpace ${space} /BitsPerComponent 8 /Filter /DCTDecode /Length ${picture.jpeg.length} >>`,
          picture.jpeg,
        );
      }
      return objects.take();
    },
    end: () => {
      const [descendant, descriptor, file, map, info] = Array.from({ length: 5 }, reserve);
      const characters = alphabet.characters();
      const font = blankFont(characters.length + 1);
      object(pagesId, `<< /Type /Pages /Count ${pages.length} /Kids [${pages.map((id) => `${id} 0 R`).join(' ')}] >>`);
      object(
        fontId,
        `<< /Type /Font /Subtype /Type0 /BaseFont /BlankText /Encoding /Identity-H /DescendantFonts [${descendant} 0 R] /ToUnicode ${map} 0 R >>`,
      );
      object(
        descendant,
        `<< /Type /Font /Subtype /CIDFontType2 /BaseFont /BlankText /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /CIDToGIDMap /Identity /DW ${blankAdvance} /FontDescriptor ${descriptor} 0 R >>`,
      );
      object(
        descriptor,
        `<< /Type /FontDescriptor /FontName /BlankText /Flags 4 /FontBBox [0 -200 ${blankAdvance} 800] /ItalicAngle 0 /Ascent 800 /Descent -200 /CapHeight 800 /StemV 80 /FontFile2 ${file} 0 R >>`,
      );
      stream(file, `/Length1 ${font.length} `, font);
      stream(map, '', toUnicode(characters));
      object(info, `<< /Producer ${textString(generator)} /Title ${textString(source)} >>`);
      object(catalogId, `<< /Type /Catalog /Pages ${pagesId} 0 R >>`);
      const start = objects.position();
      const count = objects.offsets.length;
      const rows = Array.from({ length: count }, (_, id) => {
        const offset = objects.offsets[id];
        return offset === undefined ? '0000000000 65535 f \n' : `${String(offset).padStart(10, '0')} 00000 n \n`;
      });
      put(`xref\n0 ${count}\n${rows.join('')}trailer\n<< /Size ${count} /Root ${catalogId} 0 R /Info ${info} 0 R >>\n`);
      put(`startxref\n${start}\n%%EOF\n`);
      return objects.take();
    },
  };
}
