import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { createPdfLibrary } from '../../src/node/bulk/pdfium.js';
import { type FormatName, textFormats } from '../../src/output/document/formats.js';
import type { DocumentInfo, PageOutput } from '../../src/output/document/page.js';
import { createPdfWriter } from '../../src/output/document/pdf.js';
import { wordsOf } from '../../src/output/document/words.js';
import { readingSheetHtml } from '../../src/output/reading-sheet.js';
import { pdfOf } from '../helpers/bulk.js';

const info: DocumentInfo = {
  source: 'a "b" <c>.pdf',
  pages: 3,
  generator: 'varyclip 1.2.3',
  reader: { name: 'x', weights: 'ab', precision: 'float32', towerPrecision: 'int8', preprocessing: 'cd' },
};
const line = (text: string, top: number, paragraph: number, block = 0, height = 30) => ({
  text,
  confidence: 0.87654321,
  box: { left: 100, top, width: 20 * text.length, height },
  paragraph,
  block,
});
const lines = [
  line('A Title', 50, 0, 0, 60),
  line('Hello wörld & <b>', 150, 1),
  line('second 😀 \u0001line', 190, 1),
  line('# 1. *foo* _x_', 300, 2, 1),
];
const text = 'A Title\n\nHello wörld & <b>\nsecond 😀 \u0001line\n\n# 1. *foo* _x_';
const pages: readonly PageOutput[] = [
  { number: 1, width: 1240, height: 1754, dpi: 150, text, lines, warnings: [] },
  { number: 2, width: 600, height: 800, dpi: 100, text: '', lines: [], warnings: [], error: 'is broken -- x' },
  { number: 3, width: 600, height: 800, dpi: 100, text: 'plain\ntext', warnings: ['cut'] },
];
const written = (format: Exclude<FormatName, 'pdf'>) => {
  const { begin, page, end } = textFormats[format];
  return begin(info) + pages.map((each) => page(each, info)).join('') + end(info);
};

/** The tags of an XML document as a tree must close them. */
function assertWellFormed(xml: string): void {
  const open: string[] = [];
  for (const [, end, name, empty] of xml
    .replace(/<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>]*>/gs, '')
    .matchAll(/<(\/?)([\w:]+)[^>]*?(\/?)>/g)) {
    if (end) assert.equal(open.pop(), name);
    else if (!empty) open.push(name);
  }
  assert.deepEqual(open, []);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML allows no such character.
  assert.doesNotMatch(xml, /[\u0000-\u0008]|&(?!(amp|lt|gt|quot);)/);
}

test('text: pages end with form feeds', () => {
  assert.equal(written('txt'), `${text}\n\f\fplain\ntext\n`);
});

test('Markdown: headings by their size, paragraphs on one line, nothing that was read is markup', () => {
  assert.equal(
    written('md'),
    '# A Title\n\nHello wörld & \\<b\\> second 😀 \u0001line\n\n\\# 1. \\*foo\\* \\_x\\_\n\n---\n\n*Page 2 could not be read.*\n\n---\n\nplain\ntext\n',
  );
});

test('JSON: one document with reader, pages, lines, boxes and confidences', () => {
  const document = JSON.parse(written('json'));
  assert.deepEqual(document.reader, info.reader);
  assert.equal(document.pageCount, 3);
  assert.deepEqual(document.pages[0].lines[1], { ...lines[1], confidence: 0.8765 });
  assert.equal(document.pages[0].text, text);
  assert.equal(document.pages[1].error, 'is broken -- x');
  assert.deepEqual(document.pages[2].warnings, ['cut']);
});

test('hOCR: pages, areas, paragraphs, lines and words with their boxes', () => {
  const html = written('hocr');
  assertWellFormed(html);
  const count = (name: string) => html.split(`class="${name}"`).length - 1;
  assert.deepEqual(['ocr_page', 'ocr_carea', 'ocr_par', 'ocr_line'].map(count), [3, 2, 4, 4]);
  assert.match(
    html,
    /<div class="ocr_page" id="page_1" title="image &quot;a 'b' &lt;c&gt;.pdf&quot;; bbox 0 0 1240 1754; ppageno 0;/,
  );
  assert.match(html, /<span class="ocr_line" id="line_1_2" title="bbox 100 150 440 180">/);
  assert.match(html, /title="bbox 100 150 197 180; x_wconf 88">Hello<\/span>/);
  assert.match(html, />&lt;b&gt;<\/span>/);
});

test('ALTO: blocks, lines and strings in pixels within the page', () => {
  const xml = written('alto');
  assertWellFormed(xml);
  assert.match(xml, /<MeasurementUnit>pixel<\/MeasurementUnit>/);
  assert.match(xml, /<Page ID="page_1" PHYSICAL_IMG_NR="1" WIDTH="1240" HEIGHT="1754">/);
  assert.match(xml, /<TextLine ID="line_1_2" HPOS="100" VPOS="150" WIDTH="340" HEIGHT="30">/);
  assert.match(
    xml,
    /<String ID="string_1_2_1" CONTENT="Hello" HPOS="100" VPOS="150" WIDTH="97" HEIGHT="30" WC="0.8765"\/>/,
  );
  const ids = [...xml.matchAll(/ID="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length);
  const turned = { ...pages[2], lines: [{ ...lines[1], box: { left: -5, top: 790, width: 900, height: 30 } }] };
  assert.match(
    textFormats.alto.page(turned, info),
    /<TextLine ID="line_3_1" HPOS="0" VPOS="790" WIDTH="600" HEIGHT="10">/,
  );
});

test('words: in order, within their line, by the width of their letters', () => {
  const words = wordsOf(line('mmm iii mmm', 0, 0));
  assert.deepEqual(
    words.map((word) => word.text),
    ['mmm', 'iii', 'mmm'],
  );
  assert.equal(words[0].box.left, 100);
  assert.equal(words[2].box.left + words[2].box.width, 320);
  assert.ok(words[1].box.width < words[0].box.width / 2);
  assert.ok(words[0].box.left + words[0].box.width < words[1].box.left);
  assert.deepEqual(wordsOf(line('   ', 0, 0)), []);
});

test('PDF: pdfium finds the picture, and every line of text where it stands', async () => {
  for (const deflate of [undefined, (bytes: Uint8Array) => deflateSync(bytes)]) {
    const writer = createPdfWriter(info, deflate ? { deflate } : {});
    const colour = { create: { width: 1240, height: 1754, channels: 3, background: '#ff8000' } } as const;
    const jpeg = await sharp(colour).jpeg().toBuffer();
    const picture = { jpeg, width: 1240, height: 1754, components: 3 } as const;
    const file = Buffer.concat([
      writer.begin(),
      writer.page(pages[0], picture),
      writer.page(pages[1], undefined),
      writer.page(pages[2], undefined),
      writer.end(),
    ]);
    const range = { size: file.length, read: (at: number, length: number) => file.subarray(at, at + length) };
    const pdf = (await createPdfLibrary()).open(range, 'test.pdf');
    assert.equal(pdf.pages, 3);
    const drawn = pdf.draw(0, { dpi: 72, maxPixels: 1e6 });
    assert.deepEqual([drawn.width, drawn.height], [595, 842]);
    // The text is not drawn: every pixel is the picture's.
    for (let i = 0; i < drawn.data.length; i += 3)
      assert.ok(drawn.data[i] > 250 && Math.abs(drawn.data[i + 1] - 128) < 5 && drawn.data[i + 2] < 5);
    const found = pdf.textLayer(0, 150)?.lines ?? [];
    assert.deepEqual(
      found.map((each) => each.text),
      lines.map((each) => each.text),
    );
    for (const [i, { box }] of found.entries()) {
      const want = lines[i].box;
      assert.ok(
        Math.abs(box.left - want.left) <= 2 && Math.abs(box.left + box.width - want.left - want.width) <= 4,
        `${i}: ${JSON.stringify(box)}`,
      );
      assert.ok(
        Math.abs(box.top - want.top) <= 2 && Math.abs(box.height - want.height) <= 4,
        `${i}: ${JSON.stringify(box)}`,
      );
    }
    assert.equal(pdf.textLayer(1, 150), undefined);
    assert.deepEqual(
      pdf.textLayer(2, 150)?.lines.map((each) => each.text),
      ['plain', 'text'],
    );
    pdf.dispose();
  }
});

/** A page with a text field over a stamp, a hidden field and an open note; the fields are of a form. */
function formPdf(): Buffer {
  const filled = (colour: string) =>
    `<</Type/XObject/Subtype/Form/BBox[0 0 40 20]/Length 30>>\nstream\n${`${colour} rg 0 0 40 20 re f`.padEnd(30)}\nendstream`;
  return pdfOf([
    '<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R 5 0 R]>>>>',
    '<</Type/Pages/Kids[3 0 R 3 0 R]/Count 2>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Annots[6 0 R 4 0 R 5 0 R 7 0 R]>>',
    '<</Type/Annot/Subtype/Widget/FT/Tx/T(a)/V(value)/Rect[10 70 50 90]/F 4/AP<</N 8 0 R>>>>',
    '<</Type/Annot/Subtype/Widget/FT/Tx/T(b)/V(value)/Rect[10 10 50 30]/F 2/AP<</N 8 0 R>>>>',
    '<</Type/Annot/Subtype/Stamp/Rect[30 70 70 90]/F 4/AP<</N 9 0 R>>>>',
    '<</Type/Annot/Subtype/Popup/Open true/Contents(note)/Rect[100 10 190 90]/F 4>>',
    filled('1 0 0'),
    filled('0 0 1'),
  ]);
}

test('PDF: the fields of a form are drawn over its page, those that are hidden are not', async () => {
  const file = formPdf();
  const range = { size: file.length, read: (at: number, length: number) => file.subarray(at, at + length) };
  const library = await createPdfLibrary();
  // What a document leaves does not disturb the next.
  for (let again = 0; again < 2; again++) {
    const pdf = library.open(range, 'form.pdf');
    for (const page of [0, 1, 0]) {
      const { width, data } = pdf.draw(page, { dpi: 72, maxPixels: 1e6 });
      const at = (x: number, y: number) => [...data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)];
      assert.deepEqual([at(20, 20), at(40, 20), at(60, 20)], [red, red, blue]);
      assert.deepEqual([at(20, 80), at(150, 50)], [white, white]);
    }
    pdf.dispose();
  }
});

const [red, blue, white] = [
  [255, 0, 0],
  [0, 0, 255],
  [255, 255, 255],
];

test('a page of pictures and texts: what was read is text, not markup', () => {
  const html = readingSheetHtml('<t>', [
    {
      name: '<img onerror=x>',
      picture: 'data:image/jpeg;base64,AA',
      width: 10,
      height: 20,
      text: '',
      lines: [{ ...lines[1], confidence: 0.2 }],
      warnings: ['<w>'],
    },
  ]);
  assert.doesNotMatch(html, /<b>|<w>|<img onerror|<script/);
  assert.match(html, /default-src 'none'/);
  assert.match(html, /<span class="low" title="20 %">Hello wörld &amp; &lt;b&gt;<\/span>/);
  assert.match(html, /<svg viewBox="0 0 10 20"/);
});
