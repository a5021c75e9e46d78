import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { textFormats } from '../../src/output/document/formats.js';
import type { DocumentInfo, PageOutput } from '../../src/output/document/page.js';
import { createPdfWriter } from '../../src/output/document/pdf.js';

test('dump', async () => {
  mkdirSync('/tmp/h6-out', { recursive: true });
  const info: DocumentInfo = {
    source: 'a "b" <c>.pdf',
    pages: 2,
    generator: 'varyclip 0.1.0',
    reader: { name: 'x', weights: 'ab', precision: 'float32', preprocessing: 'cd' },
  };
  const line = (text: string, top: number, paragraph: number, height = 30) => ({
    text,
    confidence: 0.87654321,
    box: { left: 100, top, width: 20 * text.length, height },
    paragraph,
    block: 0,
  });
  const pages: PageOutput[] = [
    {
      number: 1,
      width: 1240,
      height: 1754,
      dpi: 150,
      text: 'Title here\n\nHello wörld & <b>\nsecond 😀 line',
      warnings: [],
      lines: [
        line('Title here', 50, 0, 60),
        line('Hello wörld & <b>', 150, 1),
        line('second 😀 line \u0001x', 190, 1),
        line('# 1. foo *bar* _x_', 300, 2),
      ],
    },
    { number: 2, width: 600, height: 800, dpi: 100, text: '', warnings: ['w'], error: 'broken -- x' },
    { number: 3, width: 600, height: 800, dpi: 100, text: 'plain\ntext', warnings: ['w'] },
  ];
  for (const f of Object.values(textFormats)) {
    writeFileSync(
      `/tmp/h6-out/x.${f.extension}`,
      f.begin(info) + pages.map((p) => f.page(p, info)).join('') + f.end(info),
    );
  }
  const w = createPdfWriter(info, { deflate: deflateSync });
  const jpeg = await sharp({ create: { width: 1240, height: 1754, channels: 3, background: '#eef' } })
    .jpeg()
    .toBuffer();
  const parts = [
    w.begin(),
    w.page(pages[0], { jpeg, width: 1240, height: 1754, components: 3 }),
    w.page(pages[1], undefined),
    w.page(pages[2], undefined),
    w.end(),
  ];
  writeFileSync('/tmp/h6-out/x.pdf', Buffer.concat(parts));
  assert.ok(true);
});
